"""What a model cost, stage by stage, and what its head start was worth beside a cold search."""

from collections.abc import Sequence
from dataclasses import dataclass

from api.web import metrics, words
from api.web.metrics import mapping, number
from core.domain.searches import Model, Search
from core.services import controls

STAGES = ("rank", "start", "race", "search", "select", "derive", "retrain", "evaluate", "export")
REST = "all else"


@dataclass(frozen=True, slots=True)
class Cost:
    """The seconds of one stage, and their share of the whole."""

    name: str
    seconds: float
    share: float


def stages(search: Search, model: Model, total: float) -> list[Cost]:
    """In their order, what is left of the total at the end; none of a model that tells none."""
    found = {
        name: seconds
        for name, value in mapping(model.metrics.get("seconds")).items()
        if name in STAGES and (seconds := number(value)) is not None
    }
    if not found:
        return []
    if search.ranking is not None:  # a part of the start
        found["rank"] = min(search.ranking.seconds, found.get("start", 0.0))
        found["start"] = found.get("start", 0.0) - found["rank"]
    whole = max(total, sum(found.values()))
    rows = [(words.stage(name), found[name]) for name in STAGES if name in found]
    rows.append((REST, whole - sum(found.values())))
    return [Cost(name, spent, spent / whole if whole else 0.0) for name, spent in rows]


def head_start(
    search: Search, model: Model, finished: Sequence[tuple[Search, Model]]
) -> str | None:
    """How soon this one was as good as the newest cold search's best, one with the same settings
    if there is one; None of a cold search, of none, and where there is no other."""
    cold = [pair for pair in finished if metrics.is_cold(pair[0])]
    if metrics.is_given(search) or metrics.is_cold(search) or not cold:
        return None
    alike = [pair for pair in cold if controls.alike(pair[0], search)]
    control = (alike or cold)[-1][1]
    wanted = metrics.best_validation(control)
    if wanted is None or (needed := _until(control, wanted)) is None:
        return None
    which = "" if alike else ", which had other settings,"
    told = (
        f"The best validation accuracy of the cold search{which} was {words.percent(wanted)}, "
        f"{_when(*needed)}."
    )
    if (reached := _until(model, wanted)) is None:
        best = words.percent(metrics.best_validation(model))
        return f"{told} This search did not reach it: its own best was {best}."
    return f"{told} This search was as good {_when(*reached)}{_before(model)}."


def _until(model: Model, wanted: float) -> tuple[int, float] | None:
    """The epoch that was the first to be so accurate, and the seconds up to its end."""
    spent = 0.0
    for row in metrics.history(model):
        spent += number(row.get("seconds")) or 0.0
        accuracy, epoch = number(row.get("valid_accuracy")), number(row.get("epoch"))
        if accuracy is not None and epoch is not None and accuracy >= wanted:
            return round(epoch), spent
    return None


def _when(epoch: int, seconds: float) -> str:
    if not epoch:
        return f"before its first epoch ({words.duration(seconds)})"
    return f"after {epoch} {'epoch' if epoch == 1 else 'epochs'} ({words.duration(seconds)})"


def _before(model: Model) -> str:
    """What choosing the start had taken by then."""
    seconds = mapping(model.metrics.get("seconds"))
    chosen = sum(number(seconds.get(name)) or 0.0 for name in ("start", "race"))
    return f", once its start had been chosen in {words.duration(chosen)}" if chosen else ""
