"""A race for a search's start as tables show it: while it runs, and when it has been decided."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from api.web import words
from api.web.metrics import mapping, number, sequence
from core.domain.jobs import JobRecord
from core.pictures.brackets import Contestant, Place, draw_bracket

Rungs = Sequence[Mapping[str, Any]]

STAGE = "race"
HEADINGS = ("contestant", "epochs", "validation accuracy", "seconds", "out because")


@dataclass(frozen=True, slots=True)
class RaceRow:
    """One contestant, as its last rung left it; `seconds` of all its rungs."""

    name: str
    epochs: str
    accuracy: str
    seconds: str
    out: str
    won: bool = False

    @property
    def cells(self) -> tuple[str, ...]:
        """What the columns hold."""
        return self.name, self.epochs, self.accuracy, self.seconds, self.out


def decided(start: Mapping[str, Any]) -> list[RaceRow]:
    """The contestants of a search's start; none where there was no race."""
    race = mapping(start.get("race"))
    rows = []
    for each in map(mapping, sequence(race.get("contestants"))):
        rungs = [mapping(rung) for rung in sequence(each.get("rungs"))]
        name = str(each.get("name", ""))
        won = name == race.get("winner")
        rows.append(_row(_called(name, each), rungs, won=won))
    return rows


def running(records: Sequence[JobRecord]) -> list[RaceRow]:
    """The contestants of a race by a job's records so far."""
    rungs = _by_contestant(records)
    won = _winner(records, rungs)
    return [_row(name, seen, won=name == won) for name, seen in rungs.items()]


def drawn(records: Sequence[JobRecord]) -> str | None:
    """The race by a job's records as a picture, while it runs and after; None where there was
    none."""
    rungs = _by_contestant(records)
    return _bracket(rungs, _winner(records, rungs))


def _by_contestant(records: Sequence[JobRecord]) -> dict[str, list[Mapping[str, Any]]]:
    rungs: dict[str, list[Mapping[str, Any]]] = {}
    for record in sorted((each for each in records if each.stage == STAGE), key=_step):
        rungs.setdefault(str(record.values.get("contestant", "")), []).append(record.values)
    return rungs


def _winner(records: Sequence[JobRecord], rungs: Mapping[str, Rungs]) -> str | None:
    """Who has won, once the job does something else: as `core.nas.standings` decides it."""
    if all(each.stage in {STAGE, "resume"} for each in records):
        return None
    for last in range(max(map(len, rungs.values()), default=0) - 1, -1, -1):
        ran = {name: seen[last] for name, seen in rungs.items() if len(seen) > last}
        alive = [name for name, rung in ran.items() if rung.get("out") is None]
        if alive:
            return min(alive, key=lambda name: number(ran[name].get("behind")) or 0.0)
    return None


def _bracket(rungs: Mapping[str, Rungs], winner: str | None) -> str | None:
    if not rungs:
        return None
    longest = max(rungs.values(), key=len)
    contestants = [
        Contestant(name, [_place(rung) for rung in seen], won=name == winner)
        for name, seen in rungs.items()
    ]
    return draw_bracket(
        contestants,
        title="The race for the start: contestants, and how accurate each was after each rung",
        rungs=[_called_rung(rung) for rung in longest],
        description=f"{winner} won." if winner else "It is not decided yet.",
    )


def _place(rung: Mapping[str, Any]) -> Place:
    accuracy, error = number(rung.get("valid_accuracy")), number(rung.get("standard_error"))
    out = rung.get("out")
    return Place(_with_error(accuracy, error), None if out is None else str(out))


def _called_rung(rung: Mapping[str, Any]) -> str:
    epochs = number(rung.get("epochs")) or 0.0
    return f"after {epochs:.0f} epoch{'s' * (epochs != 1)}" if epochs else "before a step"


def summary(start: Mapping[str, Any]) -> str:
    """Who won, why, and at what cost; empty where there was no race."""
    race = mapping(start.get("race"))
    if not race:
        return ""
    said = f"The start was raced for: {race.get('winner')} won ({race.get('reason')})."
    share = number(race.get("overhead_fraction"))
    seconds = number(race.get("seconds"))
    if share is None or seconds is None:
        return said
    return f"{said} The race took {words.duration(seconds)}, {words.percent(share)} of the whole."


def expected(start: Mapping[str, Any]) -> str:
    """What earlier searches had led to expect of the start; empty where nobody asked."""
    said = mapping(start.get("expected"))
    if not said:
        return ""
    if not said.get("proven"):
        return f"Expected head start: not enough history ({_history(said)})."
    sources = [mapping(each) for each in sequence(said.get("sources"))]
    chosen = [each for each in sources if each.get("supernet_id") == start.get("supernet_id")]
    if not sources:
        return ""
    told = (chosen or sources)[0]  # where cold won: what the likeliest should have given
    values = (told.get("lead"), *sequence(told.get("interval")))
    figures = [found for each in values if (found := number(each)) is not None]
    if len(figures) != 3:
        return ""
    lead, low, high = figures
    return (
        f"Expected head start of {told.get('name')}: {lead:+.1f} points "
        f"[{low:.1f}, {high:.1f}], from {said.get('searches')} earlier searches."
    )


def _history(said: Mapping[str, Any]) -> str:
    datasets, needed = said.get("datasets", 0), said.get("datasets_needed", 0)
    if datasets < needed:
        return f"{datasets} of {needed} datasets"
    return f"{datasets} datasets, which tell no more than distance does"


def _row(name: str, rungs: Rungs, *, won: bool) -> RaceRow:
    last = rungs[-1] if rungs else {}
    measured = [rung for rung in rungs if number(rung.get("valid_accuracy")) is not None]
    shown = measured[-1] if measured else {}
    epochs = number(shown.get("epochs"))
    spent = [number(rung.get("seconds")) or 0.0 for rung in rungs]
    return RaceRow(
        name,
        words.UNKNOWN if epochs is None else f"{epochs:.0f}",
        _with_error(number(shown.get("valid_accuracy")), number(shown.get("standard_error"))),
        f"{sum(spent):.1f}",
        "won" if won else str(last.get("out") or ""),
        won,
    )


def _called(name: str, contestant: Mapping[str, Any]) -> str:
    dataset, distance = contestant.get("dataset_name"), number(contestant.get("distance"))
    about = [] if not dataset or dataset == name else [f"trained on {dataset}"]
    if distance is not None:
        about.append(f"distance {distance:.3g}")
    return f"{name} ({', '.join(about)})" if about else name


def _with_error(accuracy: float | None, error: float | None) -> str:
    if accuracy is None or error is None:
        return words.UNKNOWN
    return f"{100 * accuracy:.1f} \N{PLUS-MINUS SIGN} {100 * error:.1f} %"


def _step(record: JobRecord) -> int:
    return record.step
