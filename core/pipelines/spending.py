"""What a search may still spend, and what of that is kept for its cells, retraining and files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from core.domain import effort
from core.domain.searches import SearchSpec
from core.domain.work import SearchInputs
from core.errors import AppError
from core.nas.cost_model import DERIVED
from core.nas.network import Network
from core.nas.retrain import RetrainState, planned_epochs
from core.pipelines import derivation
from core.pipelines.bilevel import Course
from core.pipelines.context import Context

EXHAUSTED = "budget_exhausted"
_EASE = 1.15  # of what is kept: later epochs may be slower than those that were timed


@dataclass(frozen=True, slots=True)
class Purse:
    """The seconds that a job may take. All of its processes ask together, and the first one's
    clock answers. `modelled` is what an epoch of search takes on a machine that does nothing
    else (`core.nas.cost_model`)."""

    context: Context
    limit: float
    modelled: float = math.inf

    @property
    def left(self) -> float:
        """Seconds, below zero once more were spent."""
        if math.isinf(self.limit):
            return math.inf
        seconds = torch.tensor(self.limit - self.context.spent, dtype=torch.float64)
        return float(self.context.ranks.of_first(seconds))

    def files(self, epoch_seconds: float) -> float:
        """Seconds to keep for the files, where an epoch takes so many: as much longer as others
        who compute here make everything take."""
        return derivation.EXPORT_SECONDS * max(1.0, epoch_seconds / self.modelled)

    def require(self, what: str) -> None:
        """Refuse to begin what cannot be paid for any more. Raises AppError."""
        if self.left <= 0:
            raise AppError(
                f"The search has spent its budget, or reached its deadline, before {what}; give "
                "it more seconds, or ask for less: POST /v1/searches:estimate says what it takes.",
                code=EXHAUSTED,
            )


def purse(inputs: SearchInputs, context: Context, *, modelled: float = math.inf) -> Purse:
    """What the budget and the deadline leave to the job, whichever is less."""
    budget = inputs.spec.budget
    limits = [inputs.until, budget.seconds]
    if budget.gpu_seconds is not None and torch.device(context.device).type == "cuda":
        limits.append(budget.gpu_seconds / context.ranks.size)
    limit = min((each for each in limits if each is not None), default=math.inf)
    return Purse(context, limit, modelled)


def over(purse: Purse, spec: SearchSpec, course: Course, *, arms: int) -> bool:
    """Whether a search has had its seconds: another epoch would take from what is kept.

    Args:
        purse: What is left to the job.
        spec: What was asked for.
        course: The search; it has one epoch at least.
        arms: Searches that are yet to end, this one included; they share what may be spent.
    """
    if math.isinf(purse.limit) or len(course.history) < 2:
        return False
    spent = sum(each["seconds"] for each in course.history)
    epoch = course.history[-1]["seconds"]
    share = (purse.left - kept(purse, spec, epoch) + spent) / arms
    return bool(purse.context.ranks.of_first(torch.tensor(spent + epoch > share)))


def kept(purse: Purse, spec: SearchSpec, epoch_seconds: float) -> float:
    """Seconds for all that follows a search with epochs of so many."""
    units = effort.choice(spec) + DERIVED + derivation.units(spec.retrain_epochs + 1)
    return _EASE * epoch_seconds * units + purse.files(epoch_seconds)


def of_retraining(purse: Purse, spec: SearchSpec, arms: Sequence[Mapping[str, Any]]) -> SearchSpec:
    """The request with a retraining that fits what is left, in epochs and in seconds."""
    if spec.budget.epochs is not None:
        searched = sum(len(each["history"]) - 1 for each in arms)
        most = max(1, spec.budget.epochs - searched)
        spec = replace(spec, retrain_epochs=min(spec.retrain_epochs, most))
    if math.isinf(purse.limit):
        return spec
    left = max(1e-3, purse.left - purse.files(_latest(arms)))
    seconds = min(left, spec.retraining.budget_seconds or math.inf)
    return replace(spec, retraining=replace(spec.retraining, budget_seconds=seconds))


def replan(
    purse: Purse,
    state: RetrainState[Network],
    history: Sequence[Mapping[str, Any]],
    arms: Sequence[Mapping[str, Any]],
) -> None:
    """Let a retraining that goes on, by an earlier attempt's plan, end within what is left now:
    the plan did not know of the seconds between the two."""
    if int(state.planned) and not math.isinf(purse.limit):
        left = purse.left - purse.files(_latest(arms))
        more = planned_epochs(left, history[-1]["seconds"], int(state.planned)) - 1
        state.planned.clamp_(max=state.epoch + more)


def _latest(arms: Sequence[Mapping[str, Any]]) -> float:
    lasts = (float(row["seconds"]) for arm in arms for row in arm["history"][-1:])
    return max(lasts, default=0.0)  # of a given architecture none was searched
