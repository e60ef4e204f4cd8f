"""What a ranking found, as the command line shows it."""

from collections.abc import Iterator, Mapping
from typing import Any

from api import terminal
from api.web import evidence, race_rows, words

Json = Mapping[str, Any]

HEAVIEST = 10
VERDICT = ("nearness", "nearest", "threshold", "share", "references")


def show_neighbours(ranking: Json) -> None:
    """A ranking, nearest first, and how far to trust it."""
    found = ranking["neighbours"]
    if not found:
        terminal.out.print(_nothing(ranking))
        return
    nearness = (ranking["verdict"] or {}).get("nearness")
    scaled = any(each["scaled"] is not None for each in found)
    rows = [_row(place, each, nearness, scaled) for place, each in enumerate(found, start=1)]
    headings = ["", "source", "distance", "95 % interval", "rests on", "supernet", ""]
    if scaled:
        headings.insert(4, "corrected")
    terminal.show_table(headings, rows)
    for line in _trust(ranking):
        terminal.out.print(line, markup=False)


def show_explanation(neighbour: Json) -> None:
    """One neighbour: its place, what its distance is made of, which classes are alike."""
    place = "certain" if neighbour["proven"] else "the best that was found"
    terminal.out.print(
        f"{_called(neighbour)}: place {neighbour['place']} ({place}), distance "
        f"{_number(neighbour['distance'])} ({_interval(neighbour)})",
        markup=False,
    )
    said = evidence.measure(neighbour["measure"], neighbour["samples"])
    if said:
        terminal.out.print(f"rests on {said}", markup=False)
    parts = (("features", neighbour["features_part"]), ("labels", neighbour["labels_part"]))
    whole = sum(part for _, part in parts)
    rows = [
        (name, _number(part), f"{100 * part / whole:.0f} %" if whole > 0 else words.UNKNOWN)
        for name, part in parts
    ]
    terminal.show_table(("squared distance from", "", ""), rows)
    heaviest = sorted(_masses(neighbour["coupling"]), key=lambda each: -each[2])
    matched = [(row, column, words.share(mass)) for row, column, mass in heaviest[:HEAVIEST]]
    if matched:
        terminal.show_table(("this dataset's class", "is alike", "share of all mass"), matched)
    if len(heaviest) > HEAVIEST:
        terminal.out.print(f"and {len(heaviest) - HEAVIEST} lighter matches")
    if neighbour["deleted"]:
        terminal.out.print("It was deleted since: its classes are not here any more.")
    elif not matched and neighbour["measure"] != "estimate":
        terminal.out.print("It was deleted once, and which classes were matched: rank again.")
    elif not matched:
        terminal.out.print("It was estimated only, so no classes were matched.")


def show_start(start: Json) -> None:
    """Where a search began, and the race that decided it."""
    rows = race_rows.decided(start)
    if rows:
        terminal.show_table(race_rows.HEADINGS, [each.cells for each in rows])
        said = race_rows.summary(start), race_rows.expected(start)
        terminal.out.print(" ".join(each for each in said if each), markup=False)


def _row(place: int, each: Json, nearness: str | None, scaled: bool) -> list[object]:
    tied = evidence.tie(place=place, tied=each["tied_with_nearest"], corrected=scaled)
    notes = [note for note in (tied, evidence.hub(each["hub_share"], nearness=nearness)) if note]
    row = [
        place,
        _called(each),
        _number(each["distance"]),
        _interval(each),
        evidence.measure(each["measure"], each["samples"]),
        "yes" if each["supernet_id"] else "",
        "; ".join(notes),
    ]
    if scaled:
        row.insert(4, words.UNKNOWN if each["scaled"] is None else _number(each["scaled"]))
    return row


def _called(neighbour: Json) -> str:
    name: str = neighbour["dataset_name"]
    return f"{name} (deleted)" if neighbour["deleted"] else name


def _nothing(ranking: Json) -> str:
    if ranking["ranked"]:
        return "None of the ranked sources has a supernet: pretrain one on a neighbour first."
    return "There is nothing to compare with yet: upload another dataset and embed it first."


def _trust(ranking: Json) -> Iterator[str]:
    shown, proven = len(ranking["neighbours"]), ranking["proven"]
    said = evidence.certainty(proven=proven, shown=shown, sources=ranking["sources"])
    yield f"{ranking['exactness']}: {said}" if said else ranking["exactness"]
    if ranking["verdict"] is not None:
        yield evidence.verdict(**{name: ranking["verdict"][name] for name in VERDICT})


def _masses(coupling: Json) -> Iterator[tuple[str, str, float]]:
    for row, masses in zip(coupling["target_classes"], coupling["mass"], strict=True):
        for column, mass in zip(coupling["source_classes"], masses, strict=True):
            if mass > 0:
                yield row, column, mass


def _interval(each: Json) -> str:
    low, high = each["interval"]
    return f"{_number(low)} to {_number(high)}"


def _number(value: float) -> str:
    return f"{value:.4g}"
