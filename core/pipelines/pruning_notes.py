"""What a prune job has done so far: everything a later attempt needs, in one checkpoint file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from core.domain.datasets import Embedding
from core.pipelines import checkpoint_file
from core.pipelines.context import Context
from core.services import wire

Mask = dict[str, list[int]]


@dataclass(slots=True)
class PruningNotes:
    """The state of a prune job between two records.

    `masks` are what is known of what stays, by arm; `search` has the records of the search for the
    first of them, `arms` what the finished trainings came to. `live` is the training under way,
    with its records. `kept` are the weights of the pruned network, once it is trained. `scores`
    are what the search gave each component, `taken` the masks that were taken over, with the
    dataset's `embedding` if ranking them made it.
    """

    step: int = 0
    masks: dict[str, Mask] = field(default_factory=dict)
    search: list[dict[str, Any]] = field(default_factory=list)
    arms: dict[str, dict[str, Any]] = field(default_factory=dict)
    live: Mapping[str, Tensor] = field(default_factory=dict)
    live_history: list[dict[str, Any]] = field(default_factory=list)
    live_seconds: float = 0.0
    kept: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    scores: dict[str, list[float]] = field(default_factory=dict)
    taken: list[dict[str, Any]] = field(default_factory=list)
    embedding: Embedding | None = None

    def save(self, context: Context) -> None:
        """Make this the state to resume from."""
        self.step += 1
        tensors = checkpoint_file.prefixed("live", self.live)
        tensors |= checkpoint_file.prefixed("kept", self.kept)
        path = context.scratch / "checkpoint.safetensors"
        context.checkpoint(self.step, checkpoint_file.write(path, tensors, self._state()))

    def close(self, stage: str) -> None:
        """The training under way is over; what it took is that stage's."""
        self.seconds[stage] = self.live_seconds
        self.live, self.live_history, self.live_seconds = {}, [], 0.0

    def _state(self) -> Mapping[str, Any]:
        return {
            "step": self.step,
            "masks": self.masks,
            "search": self.search,
            "arms": self.arms,
            "live_history": self.live_history,
            "live_seconds": self.live_seconds,
            "seconds": self.seconds,
            "scores": self.scores,
            "taken": self.taken,
            "embedding": wire.dump(self.embedding),
        }


def restored(context: Context) -> PruningNotes:
    """Those of an earlier attempt, or empty ones."""
    found = context.restore()
    return PruningNotes() if found is None else _read(found.path)


def _read(path: Path) -> PruningNotes:
    tensors, state = checkpoint_file.read(path)
    live, kept = (checkpoint_file.under(name, tensors) for name in ("live", "kept"))
    found = state.pop("embedding", None)
    embedding = None if found is None else wire.load(Embedding, found)
    return PruningNotes(live=live, kept=kept, embedding=embedding, **state)
