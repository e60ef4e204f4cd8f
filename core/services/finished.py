"""What finished searches took: read from what they keep, to tell what the next ones will take."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.result_tables import ModelRow, SearchRow
from core.domain import effort
from core.domain.searches import SearchSpec
from core.nas import cost_model
from core.nas.cost_model import Factor, Shape
from core.nas.space import Space
from core.services import races, specs, wire

NEWEST: Final = 30  # that are looked at: enough for an interval, and soon read
CPU: Final = "cpu"


@dataclass(frozen=True, slots=True)
class Finished:
    """One of them.

    Attributes:
        warm: Whether it began from a supernet.
        raced: Whether it raced, and where it did, `lead` is by how many points the best supernet
            answered better than a cold start before any step.
        device: What it was computed on, by so many `processes`.
        ratio: Its seconds over those of the model of cost.
        memory: Bytes at the peak over those of the model, on the host and on the GPU.
        used: Which part of its epochs of search it needed; None where a budget ended them all.
    """

    warm: bool
    raced: bool
    lead: float | None
    device: str
    processes: int
    ratio: float
    memory: Mapping[str, float]
    used: float | None


def newest(session: Session, *, limit: int = NEWEST) -> tuple[Finished, ...]:
    """The newest of them, newest first."""
    statement = (
        select(
            SearchRow.spec,
            SearchRow.start,
            JobRow.cost_seconds,
            ModelRow.metrics,
            DatasetRow.train_counts,
        )
        .join(ModelRow, ModelRow.search_id == SearchRow.id)
        .join(JobRow, JobRow.id == SearchRow.job_id)
        .join(DatasetRow, DatasetRow.id == SearchRow.dataset_id)
        .where(SearchRow.start.is_not(None), JobRow.cost_seconds > 0)
        .order_by(SearchRow.created_at.desc(), SearchRow.id)
        .limit(limit)
    )
    return tuple(_all(session.execute(statement)))


@dataclass(frozen=True, slots=True)
class Here:
    """Where it will be computed, as finished searches there tell; without any, as is set."""

    device: str
    alike: tuple[Finished, ...]

    @property
    def gpu(self) -> bool:
        """Whether that is a GPU."""
        return self.device != CPU

    @property
    def processes(self) -> int:
        """That compute a job together."""
        return self.alike[0].processes if self.alike else 1

    @property
    def factor(self) -> Factor:
        """By how much seconds differ from the model's."""
        # The model was measured on a CPU; of GPUs nothing is known until one has done a search.
        between = cost_model.UNKNOWN if self.gpu else cost_model.BETWEEN
        return cost_model.calibrate([each.ratio for each in self.alike], between=between)

    def memory(self, name: str) -> Factor:
        """By how much bytes differ, on the `host` or the `gpu`."""
        return cost_model.calibrate(
            [each.memory[name] for each in self.alike if name in each.memory],
            within=cost_model.MEMORY_WITHIN,
            between=cost_model.MEMORY_BETWEEN,
        )


def here(history: Sequence[Finished], device: str) -> Here:
    """Where the next one will be computed; workers are set to `device`."""
    usual = CPU if device in ("auto", CPU) else device
    newest = history[0].device if history else usual
    return Here(newest, tuple(each for each in history if each.device == newest))


def _all(rows: Any) -> Iterator[Finished]:
    for asked, start, seconds, metrics, counts in rows:
        if "machine" not in metrics:  # of an earlier release, which told less
            continue
        spec: SearchSpec = wire.load(SearchSpec, asked)
        yield _one(spec.capped, start, metrics, seconds, tuple(counts))


def _one(
    spec: SearchSpec,
    start: Mapping[str, Any],
    metrics: Mapping[str, Any],
    seconds: float,
    counts: tuple[int, ...],
) -> Finished:
    arms, machine = metrics["arms"], metrics["machine"]
    size = start.get("batch_size", spec.training.batch_size)
    space = Space.from_dict(start["space"])
    found = specs.shape(spec, space, start["resolution"], counts, size)
    searched = sum(map(_epochs, arms))
    modelled = found.job(
        searches=len(arms),
        searched=searched,
        retrained=len(metrics["retrained"]["history"]) - 1,
        other=effort.choice(spec) + (effort.race(spec) if start["race"] else 0.0),
    )
    return Finished(
        warm=start["supernet_id"] is not None,
        raced=start["race"] is not None,
        lead=_lead(start["race"]),
        device=machine["device"],
        processes=machine["processes"],
        ratio=seconds / modelled,
        memory=_memory(machine, found),
        used=_used(arms, spec.training.epochs),
    )


def _epochs(arm: Mapping[str, Any]) -> int:
    return max(0, len(arm["history"]) - 1)  # the first record is of the start


def _used(arms: Sequence[Mapping[str, Any]], epochs: int) -> float | None:
    """Those that a budget ended say nothing of what they needed."""
    ended = [arm for arm in arms if not effort.spent(arm["history"])]
    return min(1.0, fmean(map(_epochs, ended)) / epochs) if ended else None


def _memory(machine: Mapping[str, Any], found: Shape) -> dict[str, float]:
    peaks = {"host": machine.get("host_bytes"), "gpu": machine.get("gpu_bytes")}
    modelled = {"host": found.host_bytes(), "gpu": found.tensors()}
    return {name: peak / modelled[name] for name, peak in peaks.items() if peak}


def _lead(race: Mapping[str, Any] | None) -> float | None:
    if race is None:
        return None
    return max((each.points for each in races.leads(race)), default=None)
