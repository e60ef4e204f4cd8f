"""Requests for finished models, computed together and in turn by one process.

One thread owns the process. While a batch is computed the next gathers, so that nobody waits for
company who need not.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import structlog

from core.config import InferenceSettings
from core.domain.inference import Signature
from core.domain.searches import Artifact
from core.errors import AppError, Unavailable
from core.inference.models import Models, Read
from core.inference.process import Floats

Answer = tuple[Signature, tuple[Floats, ...]]

MOST_KNOWN = 1_000  # signatures that are remembered
STOP_SECONDS = 5.0

log = structlog.stdlib.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    """A request: for no rows, it only has the model loaded."""

    file: Artifact
    read: Read
    batch: Floats | None
    since: float = field(default_factory=time.monotonic)
    answer: "Future[Answer]" = field(default_factory=Future)

    @property
    def rows(self) -> int:
        return 0 if self.batch is None else len(self.batch)


class Inference:
    """One for each serving process; its thread and its process begin with the first request."""

    def __init__(self, limits: InferenceSettings) -> None:
        self.limits = limits
        self._changed = threading.Condition()
        self._waiting: list[_Asked] = []
        self._known: dict[str, Signature] = {}
        self._thread: threading.Thread | None = None
        self._closed = False
        self._bodies = 0
        self._runtime = find_spec("onnxruntime")

    def check(self) -> None:
        """Raise Unavailable (`inference_unavailable`) where there is nothing to compute with."""
        if self._runtime is None:
            raise Unavailable(
                "This server has no ONNX Runtime; its operator installs it with "
                "pip install 'headstart-nas[inference]'.",
                code="inference_unavailable",
            )

    def known(self, file: Artifact) -> Signature | None:
        """What the model in this file is, if it was loaded before."""
        return self._known.get(file.sha256)

    def submit(self, file: Artifact, read: Read, batch: Floats | None = None) -> "Future[Answer]":
        """Have the model loaded and, with a batch that fits its input, computed.

        `read` brings the file's bytes, checked. Raises Unavailable (`busy`,
        `inference_unavailable`), and so does the future: `inference_timeout` after the time that
        a batch is given, `inference_lost` with the process.
        """
        self.check()
        asked = _Asked(file, read, batch)
        with self._changed:
            if len(self._waiting) >= self.limits.queue or self._closed:
                raise _busy()
            self._waiting.append(asked)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="inference", daemon=True)
                self._thread.start()
            self._changed.notify()
        return asked.answer

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Hold a body of this size while the block runs. Raises Unavailable (`busy`)."""
        with self._changed:
            if self._bodies and self._bodies + size > self.limits.bodies_bytes:
                raise _busy()
            self._bodies += size
        try:
            yield
        finally:
            with self._changed:
                self._bodies -= size

    def close(self) -> None:
        """Let the process end; nothing more is taken."""
        with self._changed:
            self._closed, thread = True, self._thread
            self._changed.notify()
        if thread is not None:
            thread.join(STOP_SECONDS)

    def _serve(self) -> None:
        models = Models(self.limits)
        try:
            while batch := self._next():
                self._compute(models, batch)
        finally:
            models.end()

    def _next(self) -> list[_Asked]:
        """The oldest and those for the same model that fit beside it; none when it is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed, self.limits.idle_seconds)
            if self._closed or not self._waiting:
                self._thread = None
                _fail(_begun(self._waiting), _busy())
                self._waiting.clear()
                return []
            first = self._waiting[0]
            left = first.since + self.limits.gather_seconds - time.monotonic()
            self._changed.wait_for(lambda: self._closed or self._full(first), max(0.0, left))
            taken = self._alike(first)
            chosen = set(map(id, taken))
            self._waiting = [each for each in self._waiting if id(each) not in chosen]
        return taken

    def _full(self, first: _Asked) -> bool:
        return sum(each.rows for each in self._alike(first)) >= self.limits.rows

    def _alike(self, first: _Asked) -> list[_Asked]:
        found: list[_Asked] = []
        rows = 0
        for each in self._waiting:
            if each.file.sha256 == first.file.sha256:
                rows += each.rows
                if found and rows > self.limits.rows:
                    break
                found.append(each)
        return found

    def _compute(self, models: Models, batch: list[_Asked]) -> None:
        late = time.monotonic() - self.limits.seconds
        begun = _begun(batch)
        _fail([each for each in begun if each.since < late], _busy())
        begun = [each for each in begun if each.since >= late]
        if not begun:
            return
        try:
            signature = models.ready(begun[0].file, begun[0].read)
            self._remember(begun[0].file, signature)
            given = [each.batch for each in begun if each.batch is not None]
            outputs = models.run(begun[0].file, np.concatenate(given)) if given else ()
        except AppError as error:
            _fail(begun, error)
        except Exception as error:  # whoever waits must hear of a bug, and others go on
            log.exception("inference_failed")
            _fail(begun, error)
        else:
            _answer(begun, signature, outputs)

    def _remember(self, file: Artifact, signature: Signature) -> None:
        if len(self._known) >= MOST_KNOWN:
            self._known.clear()
        self._known[file.sha256] = signature


def _busy() -> Unavailable:
    return Unavailable("As many requests for models as are taken at once wait.", code="busy")


def _begun(asked: Sequence[_Asked]) -> list[_Asked]:
    """Without those that nobody waits for any more."""
    return [each for each in asked if each.answer.set_running_or_notify_cancel()]


def _fail(asked: Sequence[_Asked], error: Exception) -> None:
    for each in asked:
        each.answer.set_exception(error)


def _answer(asked: Sequence[_Asked], signature: Signature, outputs: tuple[Floats, ...]) -> None:
    """To each its rows."""
    at = 0
    for each in asked:
        mine = tuple(output[at : at + each.rows] for output in outputs) if each.rows else ()
        at += each.rows
        each.answer.set_result((signature, mine))
