"""The model process as its owner sees it: started, asked, and killed when it is silent."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from core.config import InferenceSettings
from core.data import sandbox
from core.domain.inference import Signature, Tensor
from core.errors import AppError, Unavailable
from core.inference import frames

Floats = NDArray[np.float32]

START_SECONDS = 60.0  # a busy machine takes its time to import a library
LOST = "The process that computes was lost: ask again."
LATE = "The model did not answer in time."

log = structlog.stdlib.get_logger(__name__)


class ModelProcess:
    """One that runs until `end`; the thread that made it must live as long (the kernel kills a
    child at the end of the thread that started it).

    Whatever it is asked raises Unavailable once it is lost or late, and it is gone then.
    """

    def __init__(self, limits: InferenceSettings) -> None:
        self._limits = limits
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "core.inference.runtime"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._log.fileno(),
                cwd="/",
                env=sandbox.environment(),
                start_new_session=True,
            )
        self._socket, self._answers = ours, ours.makefile("rb")
        self._socket.settimeout(START_SECONDS)
        terms = {"memory_bytes": limits.memory_bytes, "threads": limits.threads}
        self._ask({**terms, "parent": os.getpid()})
        self._socket.settimeout(limits.seconds)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def load(self, model: str, data: bytes, *, drop: Sequence[str]) -> Signature:
        """Keep a model under this name instead of others. Raises AppError for one it cannot."""
        told, _ = self._ask({"ask": "load", "model": model, "drop": list(drop)}, data)
        if "refused" in told:
            raise AppError(f"ONNX Runtime cannot load the model: {told['refused']}")
        return Signature(_tensor(told["input"]), tuple(map(_tensor, told["outputs"])))

    def run(self, model: str, batch: Floats) -> tuple[Floats, ...]:
        """What a loaded model makes of a batch, output by output."""
        head = {"ask": "run", "model": model, "shape": batch.shape}
        told, parts = self._ask(head, np.ascontiguousarray(batch, "<f4").data.cast("B"))
        return tuple(
            np.frombuffer(part, "<f4").reshape(shape)
            for part, shape in zip(parts, told["shapes"], strict=True)
        )

    def end(self) -> None:
        """Let nothing of it remain."""
        if self.alive:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for each in (self._answers, self._socket, self._log):
            each.close()

    def _ask(self, head: dict[str, Any], *parts: frames.Part) -> frames.Frame:
        try:
            self._socket.sendall(frames.spelled(head, *parts))
            told = frames.read(self._answers)
        except TimeoutError:
            self._tell("inference_process_late")
            self.end()
            raise Unavailable(LATE, code="inference_timeout") from None
        except OSError:
            told = None
        if told is None:
            self._tell("inference_process_lost")
            self.end()
            raise Unavailable(LOST, code="inference_lost")
        return told

    def _tell(self, event: str) -> None:
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - 4000))
        said = self._log.read().decode("utf-8", "replace")
        log.error(event, pid=self.pid, status=self._process.poll(), stderr=said)


def _tensor(told: tuple[str, list[int]]) -> Tensor:
    name, shape = told
    return Tensor(name, tuple(shape))
