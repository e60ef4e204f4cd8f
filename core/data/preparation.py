"""The work of intake: from an archive on disk to a dataset's two files and its report.

Runs in the confined child (`core.data.child`); everything it reads is hostile until decoded.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.config import UploadLimits
from core.data import archive, images, layout, originals, packing, selection
from core.data.archive import Archive
from core.data.layout import TRAIN, Layout
from core.data.members import Member, refusal
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME, Contents
from core.data.selection import Reading, Selection
from core.domain.datasets import DatasetReport, Problem
from core.domain.jobs import Progress
from core.errors import BadArchive, Detail, TooLarge

Report = Callable[[Progress], None]
_LISTED_OTHERS = 100
_LISTED_SIZES = 50
# Shares of the whole, roughly as measured: decoding dominates.
_DECODED, _WRITTEN = 0.75, 1.0


@dataclass(frozen=True, slots=True)
class _Decoded:
    """The outcome of decoding every placed image; thumbnails lie in a scratch file by `row`."""

    readings: tuple[Reading, ...]
    bad: tuple[Problem, ...]
    modes: Counter[str]
    sizes: Counter[str]
    notes: Counter[str]


def prepare(
    path: Path,
    folder: Path,
    limits: UploadLimits,
    *,
    seed: int,
    resolution: int,
    report: Report,
) -> Contents:
    """Write originals and packed images into `folder`. Raises BadArchive or TooLarge."""
    report(Progress("unpack", 0.0))
    with archive.opened(path, limits, folder=folder) as opened:
        pictures, others = _sorted_out(opened)
        arranged = _arranged(pictures, limits)
        thumbnails = folder / "thumbnails.bin"
        decoded = _decode_all(opened, pictures, arranged, thumbnails, limits, resolution, report)
        _check_share(decoded.bad, len(pictures), limits)
        chosen = selection.select(
            decoded.readings, seed=seed, validation_as_test=arranged.validation_as_test
        )
        channels = 1 if all(reading.grey for reading in chosen.kept) else 3
        _write_packed(folder / PACKED_NAME, thumbnails, chosen, channels, resolution)
        _write_originals(folder / ORIGINALS_NAME, opened, pictures, chosen, report)
        thumbnails.unlink()
        found = [*_other_files(others, opened.ignored), *arranged.problems, *decoded.bad]
    return Contents(
        sha256=selection.content_address(chosen),
        classes=chosen.classes,
        train_counts=chosen.counts(TRAIN),
        test_counts=chosen.counts(layout.TEST),
        channels=channels,
        report=_report(found, decoded, chosen, len(pictures), seed),
        resolution=resolution,
    )


def _sorted_out(opened: Archive) -> tuple[list[Member], list[Member]]:
    """Images (by name, or by signature when the name says nothing) and everything else."""
    pictures: list[Member] = []
    others: list[Member] = []
    for member in opened.members:
        _, dot, suffix = member.parts[-1].rpartition(".")
        suffix = suffix.casefold() if dot else ""
        named = suffix in images.READABLE_SUFFIXES or suffix in images.OTHER_IMAGE_SUFFIXES
        if named or images.format_of(opened.head(member, 12)) not in (None, "BMP"):
            pictures.append(member)
        else:
            others.append(member)
    if not pictures:
        raise BadArchive(
            "The archive contains no images; put PNG, JPEG, WebP, BMP or GIF files into one "
            "folder per class.",
            code="empty_dataset",
        )
    return pictures, others


def _arranged(pictures: Sequence[Member], limits: UploadLimits) -> Layout:
    arranged = layout.arrange([member.parts for member in pictures])
    labels = {place.label for place in arranged.places if place is not None}
    selection.check_classes(labels)
    if len(labels) > limits.classes:
        raise TooLarge(
            f"The archive has {len(labels):,} class folders; at most {limits.classes:,} are "
            "allowed. Is each image in a folder of its own?",
            code="too_many_classes",
        )
    return arranged


def _decode_all(
    opened: Archive,
    pictures: Sequence[Member],
    arranged: Layout,
    thumbnails: Path,
    limits: UploadLimits,
    resolution: int,
    report: Report,
) -> _Decoded:
    """Decode each placed image once: hashes, grey or colour, and its thumbnail to the file."""
    readings: list[Reading] = []
    bad: list[Problem] = []
    modes, sizes, notes = Counter[str](), Counter[str](), Counter[str]()
    with thumbnails.open("wb") as file:
        for index, (member, place) in enumerate(zip(pictures, arranged.places, strict=True)):
            if index % 100 == 0:
                report(Progress("decode", _DECODED * index / len(pictures)))
            if place is None:
                continue
            data = opened.read(member)
            try:
                image = images.decode(data, max_pixels=limits.image_pixels)
            except images.BadImage as error:
                bad.append(Problem("error", error.code, member.name, error.message))
                continue
            small = images.fit(image.pixels, resolution)
            file.write((np.repeat(small[..., None], 3, 2) if image.is_grey else small).tobytes())
            digest = hashlib.sha256(data).hexdigest()
            readings.append(
                Reading(
                    index, len(readings), member.name, place, digest, image.digest(), image.is_grey
                )
            )
            modes[image.mode] += 1
            sizes[image.size] += 1
            notes.update(image.notes)
    return _Decoded(tuple(readings), tuple(bad), modes, sizes, notes)


def _check_share(bad: Sequence[Problem], seen: int, limits: UploadLimits) -> None:
    if len(bad) <= limits.unreadable_share * seen:
        return
    details = [Detail(problem.place, problem.code, problem.message) for problem in bad]
    if len(bad) == 1:
        raise refusal(details)
    codes = {detail.code for detail in details}
    raise BadArchive(
        f"{len(bad)} of {seen} images cannot be read, more than the "
        f"{limits.unreadable_share:.0%} that may be left out. Repair or remove the listed files.",
        code=codes.pop() if len(codes) == 1 else "bad_image",
        details=details,
    )


def _write_packed(
    path: Path, thumbnails: Path, chosen: Selection, channels: int, resolution: int
) -> None:
    shape = (-1, resolution, resolution, 3)
    pixels = np.memmap(thumbnails, np.uint8, "r").reshape(shape)
    rows = (
        np.asarray(pixels[reading.row][..., 0] if channels == 1 else pixels[reading.row])
        for reading in chosen.kept
    )
    packing.write(
        path,
        rows,
        labels=chosen.labels,
        split=[packing.TRAIN_CODE if s == TRAIN else packing.TEST_CODE for s in chosen.splits],
        channels=channels,
        resolution=resolution,
    )


def _write_originals(
    path: Path, opened: Archive, pictures: Sequence[Member], chosen: Selection, report: Report
) -> None:
    def rows() -> Iterator[originals.Original]:
        total = len(chosen.kept)
        picked = zip(chosen.kept, chosen.labels, chosen.splits, strict=True)
        for index, (reading, label, split) in enumerate(picked):
            if index % 500 == 0:
                done = _DECODED + (_WRITTEN - _DECODED) * index / total
                report(Progress("write", done))
            data = opened.read(pictures[reading.index])
            yield originals.Original(
                data, reading.name, label, chosen.classes[label], split, reading.sha256
            )

    originals.write(path, chosen.classes, rows())
    report(Progress("write", _WRITTEN))


def _other_files(others: Sequence[Member], ignored: int) -> Iterator[Problem]:
    for member in others[:_LISTED_OTHERS]:
        yield Problem("warning", "not_an_image", member.name, "Not an image; it was left out.")
    if len(others) > _LISTED_OTHERS:
        more = len(others) - _LISTED_OTHERS
        yield Problem("warning", "not_an_image", "", f"{more:,} more files are not images.")
    if ignored:
        yield Problem(
            "warning",
            "ignored_files",
            "",
            f"{ignored:,} hidden or operating-system files (such as .DS_Store) were ignored.",
        )


def _report(
    found: Sequence[Problem], decoded: _Decoded, chosen: Selection, seen: int, seed: int
) -> DatasetReport:
    converted = [
        Problem("warning", f"image_{note}", "", f"Images {images.NOTES[note]}: {count:,}.")
        for note, count in sorted(decoded.notes.items())
    ]
    sizes = dict(decoded.sizes.most_common(_LISTED_SIZES))
    if len(decoded.sizes) > _LISTED_SIZES:
        sizes["other"] = decoded.sizes.total() - sum(sizes.values())
    return DatasetReport(
        problems=(*found, *chosen.problems, *converted),
        images_seen=seen,
        images_kept=len(chosen.kept),
        exact_duplicates=chosen.duplicates,
        split=chosen.origin,
        split_seed=seed if chosen.origin == selection.STRATIFIED else None,
        modes=dict(decoded.modes),
        sizes=sizes,
    )
