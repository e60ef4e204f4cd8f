"""The models that the process holds, and the process itself, begun when there is a need."""

from collections import OrderedDict
from collections.abc import Callable, Iterator

from core.config import InferenceSettings
from core.domain.inference import Signature
from core.domain.searches import Artifact
from core.errors import TooLarge
from core.inference.process import Floats, ModelProcess

Read = Callable[[], bytes]


class Models:
    """Belongs to one thread, as its process does."""

    def __init__(self, limits: InferenceSettings) -> None:
        self._limits = limits
        self._process: ModelProcess | None = None
        self._held: OrderedDict[str, tuple[int, Signature]] = OrderedDict()

    def ready(self, file: Artifact, read: Read) -> Signature:
        """Have the process hold this model; those that nobody asked for longest make room.

        Raises as `ModelProcess` does, and as `read`; TooLarge for one that never fits.
        """
        process = self._alive()
        if (held := self._held.get(file.sha256)) is not None:
            self._held.move_to_end(file.sha256)
            return held[1]
        if file.size > self._limits.model_bytes:
            raise TooLarge(
                f"This server computes with models of {self._limits.model_bytes:,} bytes."
            )
        signature = process.load(file.sha256, read(), drop=list(self._outgrown(file.size)))
        self._held[file.sha256] = file.size, signature
        return signature

    def run(self, file: Artifact, batch: Floats) -> tuple[Floats, ...]:
        """What a model that is ready makes of a batch. Raises as `ModelProcess` does."""
        assert self._process is not None
        return self._process.run(file.sha256, batch)

    def end(self) -> None:
        """Let the process go."""
        if self._process is not None:
            self._process.end()

    def _alive(self) -> ModelProcess:
        if self._process is None or not self._process.alive:
            self.end()
            self._held.clear()
            self._process = None  # until the next has begun
            self._process = ModelProcess(self._limits)
        return self._process

    def _outgrown(self, size: int) -> Iterator[str]:
        used = sum(each for each, _ in self._held.values())
        while used + size > self._limits.model_bytes:
            name, (freed, _) = self._held.popitem(last=False)
            used -= freed
            yield name
