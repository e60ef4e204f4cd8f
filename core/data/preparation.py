"""The work of intake: from archives on disk to a dataset's two files and its report.

Runs in the confined child (`core.data.child`); everything it reads is hostile until decoded.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from core.config import UploadLimits
from core.data import decoding, formats, layout, originals, packing, reporting, selection
from core.data.images import Pixels
from core.data.items import Source
from core.data.layout import TRAIN, Layout
from core.data.leaving_out import Without
from core.data.prepared import ORIGINALS_NAME, PACKED_NAME, Contents
from core.data.selection import Selection
from core.domain.datasets import IntakeOptions
from core.domain.jobs import Progress
from core.errors import TooLarge

Report = Callable[[Progress], None]
# Shares of the whole, roughly as measured: decoding dominates.
_DECODED, _WRITTEN = 0.75, 1.0


def prepare(
    paths: Sequence[Path],
    folder: Path,
    limits: UploadLimits,
    options: IntakeOptions,
    *,
    resolution: int,
    report: Report,
) -> Contents:
    """Write originals and packed images into `folder`. Raises BadArchive or TooLarge."""
    report(Progress("unpack", 0.0))
    with formats.opened(paths, limits, options, folder=folder) as whole:
        source = Without(whole, options.leave_out) if options.leave_out else whole
        arranged = _arranged(source, limits, options)
        thumbnails = folder / "thumbnails.bin"
        found = decoding.decode_all(
            source,
            arranged.places,
            thumbnails,
            limits,
            resolution=resolution,
            done=lambda share: report(Progress("decode", _DECODED * share)),
        )
        refused = reporting.refusal_of(source, arranged, found, limits, options)
        if refused is not None:
            raise refused
        chosen = selection.select(
            found.readings, options, validation_as_test=arranged.validation_as_test
        )
        channels = 1 if all(reading.grey for reading in chosen.kept) else 3
        shape = (-1, resolution, resolution, 3)
        pixels = np.memmap(thumbnails, np.uint8, "r").reshape(shape)
        _write_packed(folder / PACKED_NAME, pixels, chosen, channels, resolution)
        _write_originals(folder / ORIGINALS_NAME, source, chosen, report)
        told = reporting.report_of(source, arranged, found, chosen, pixels, options)
        thumbnails.unlink()
    return Contents(
        sha256=selection.content_address(chosen),
        classes=chosen.classes,
        train_counts=chosen.counts(TRAIN),
        test_counts=chosen.counts(layout.TEST),
        channels=channels,
        report=told,
        resolution=resolution,
    )


def _arranged(source: Source, limits: UploadLimits, options: IntakeOptions) -> Layout:
    arranged = layout.arrange(source.items, options)
    labels = {place.label for place in arranged.places if place is not None}
    if len(labels) > limits.classes:
        raise TooLarge(
            f"The archive has {len(labels):,} classes; at most {limits.classes:,} are allowed. "
            "Is each image in a folder of its own?",
            code="too_many_classes",
        )
    return arranged


def _write_packed(
    path: Path, pixels: Pixels, chosen: Selection, channels: int, resolution: int
) -> None:
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


def _write_originals(path: Path, source: Source, chosen: Selection, report: Report) -> None:
    def rows() -> Iterator[originals.Original]:
        total = len(chosen.kept)
        picked = zip(chosen.kept, chosen.labels, chosen.splits, strict=True)
        for index, (reading, label, split) in enumerate(picked):
            if index % 500 == 0:
                done = _DECODED + (_WRITTEN - _DECODED) * index / total
                report(Progress("write", done))
            yield originals.Original(
                source.read(reading.index),
                reading.name,
                label,
                chosen.classes[label],
                split,
                reading.sha256,
            )

    originals.write(path, chosen.classes, rows())
    report(Progress("write", _WRITTEN))
