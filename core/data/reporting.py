"""What the user is told: all that was found, or all for which an upload is refused."""

from collections import Counter
from collections.abc import Iterable, Iterator

from core.config import UploadLimits
from core.data import findings, images, selection
from core.data.decoding import Readings
from core.data.images import Pixels
from core.data.items import Source
from core.data.layout import Layout
from core.data.members import refusal
from core.data.selection import Selection
from core.domain.datasets import DatasetReport, IntakeOptions, Problem
from core.errors import BadArchive, Detail

_LISTED_SIZES = 50
_LISTED = 1_000


def refusal_of(
    source: Source, arranged: Layout, found: Readings, limits: UploadLimits, options: IntakeOptions
) -> BadArchive | None:
    """The one error that names everything wrong with the upload, if anything is too wrong."""
    share = limits.unreadable_share
    if options.unreadable_share is not None:
        share = options.unreadable_share
    faults = [*source.faults, *arranged.faults, *found.faults]
    bad = [Detail(each.place, each.code, each.message) for each in found.bad]
    if faults:
        known = (*source.problems, *arranged.problems)
        left_out = [each for each in known if each.severity == "error"]
        bad = [*(Detail(each.place, each.code, each.message) for each in left_out), *bad]
        total = len(faults) + len(bad)
        return refusal([*faults, *bad][:_LISTED], total=total)
    if len(bad) <= share * len(source.items):
        return None
    if len(bad) == 1:
        return refusal(bad)
    codes = {detail.code for detail in bad}
    return BadArchive(
        f"{len(bad)} of {len(source.items)} images cannot be read, more than the "
        f"{share:.0%} that may be left out. Repair or remove the listed files.",
        code=codes.pop() if len(codes) == 1 else "bad_image",
        details=bad[:_LISTED],
    )


def report_of(
    source: Source,
    arranged: Layout,
    found: Readings,
    chosen: Selection,
    thumbnails: Pixels,
    options: IntakeOptions,
) -> DatasetReport:
    """All that was seen of an upload that is taken."""
    problems = [
        *source.problems,
        *arranged.problems,
        *found.bad,
        *chosen.problems,
        *findings.of_classes(arranged.places, chosen),
        *findings.repeats(chosen),
        *findings.twins(chosen, thumbnails),
        *_converted(found),
    ]
    number_of = Counter(problem.code for problem in problems)
    return DatasetReport(
        problems=tuple(_first_of_each(problems)),
        images_seen=len(source.items),
        images_kept=len(chosen.kept),
        exact_duplicates=chosen.duplicates,
        split=chosen.origin,
        split_seed=options.seed if chosen.origin == selection.STRATIFIED else None,
        modes=dict(found.modes),
        sizes=_sizes(found),
        groups=chosen.groups,
        near_duplicates=sum(number_of[code] for code in findings.TWINS),
        imbalance=round(findings.imbalance(chosen), 2),
        findings=dict(number_of),
        options=options,
    )


def _converted(found: Readings) -> Iterator[Problem]:
    for note, count in sorted(found.notes.items()):
        words = f"Images {images.NOTES[note]}: {count:,}."
        yield Problem("warning", f"image_{note}", "", words)


def _sizes(found: Readings) -> dict[str, int]:
    sizes = dict(found.sizes.most_common(_LISTED_SIZES))
    if len(found.sizes) > _LISTED_SIZES:
        sizes["other"] = found.sizes.total() - sum(sizes.values())
    return sizes


def _first_of_each(problems: Iterable[Problem]) -> Iterator[Problem]:
    """As many of each code as anybody looks through: the report is read with its dataset."""
    listed = Counter[str]()
    for problem in problems:
        listed[problem.code] += 1
        if listed[problem.code] <= _LISTED:
            yield problem
