"""What a search job has done so far: everything a later attempt needs, in one checkpoint file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from core.domain.datasets import Embedding, Ranking
from core.domain.work import StartingPoint
from core.pipelines import checkpoint_file, together
from core.pipelines.context import Context
from core.services import wire


@dataclass(slots=True)
class Notes:
    """The state of a search job between two records.

    `arms` are the finished searches, one per learning rate; `best` holds the supernet of the best
    of them, `method` what its method of search keeps. `supernet` is where the arms start: when the
    job is resumed, the registry may have a newer one of the same source. `live` is the training
    under way: the next arm's, or, once there is a genotype, the retraining's. `live_history` are
    its records.
    """

    ranking: Ranking | None
    embedding: Embedding | None
    start: dict[str, Any]
    supernet: StartingPoint | None = None
    step: int = 0
    arms: list[dict[str, Any]] = field(default_factory=list)
    best_arm: int | None = None
    best: dict[str, Tensor] = field(default_factory=dict)
    method: dict[str, Tensor] = field(default_factory=dict)
    genotype: str | None = None
    live: dict[str, Tensor] = field(default_factory=dict)
    live_history: list[dict[str, Any]] = field(default_factory=list)
    live_seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def save(self, context: Context) -> None:
        """Make this the state to resume from."""
        self.step += 1
        context.checkpoint(self.step, self.write(context.scratch / "checkpoint.safetensors"))

    def write(self, path: Path) -> Path:
        """Write them to a file, for `read`."""
        tensors = checkpoint_file.prefixed("best", self.best)
        tensors |= checkpoint_file.prefixed("method", self.method)
        tensors |= checkpoint_file.prefixed("live", self.live)
        return checkpoint_file.write(path, tensors, self._state())

    def _state(self) -> Mapping[str, Any]:
        return {
            "ranking": wire.dump(self.ranking),
            "embedding": wire.dump(self.embedding),
            "start": self.start,
            "supernet": wire.dump(self.supernet),
            "step": self.step,
            "arms": self.arms,
            "best_arm": self.best_arm,
            "genotype": self.genotype,
            "live_history": self.live_history,
            "live_seconds": self.live_seconds,
            "figures": self.figures,
            "seconds": self.seconds,
        }


def of_first(context: Context, make: Callable[[], Notes]) -> Notes:
    """The notes that the first of the job's processes makes, in all of them."""
    made: Notes | None = None

    def write() -> Path | None:
        nonlocal made
        made = make()
        if context.ranks.size == 1:
            return None
        return made.write(context.scratch / f"notes-{made.step}.safetensors")

    path = together.file_of_first(context, write)
    if made is not None:
        return made
    assert path is not None  # the first has written it
    return read(path)


def read(path: Path) -> Notes:
    """The notes of an earlier attempt."""
    tensors, state = checkpoint_file.read(path)
    # Earlier versions kept the whole source.
    supernet = (state.pop("source", None) or {}).get("supernet") or state.pop("supernet", None)
    return Notes(
        ranking=wire.load(Ranking | None, state.pop("ranking")),
        embedding=wire.load(Embedding | None, state.pop("embedding")),
        supernet=wire.load(StartingPoint | None, supernet),
        best=checkpoint_file.under("best", tensors),
        method=checkpoint_file.under("method", tensors),
        live=checkpoint_file.under("live", tensors),
        **state,
    )
