"""The process that computes with finished models: `python -m core.inference.runtime`.

Its environment has no credentials, and the kernel takes the network from it where it allows that;
the files that the service's user may read it may read. It is told models and batches for them, one
after another: files of ours and numbers, never an image of a stranger's. What it raises ends it,
and another begins.
"""

import os
import sys
from typing import IO, Any

import numpy as np

from core.config import UploadLimits
from core.data.confinement import confine
from core.inference import frames

_FOR_EVER = 10**9  # seconds of CPU: the service's own clock says when a batch takes too long
_FLOAT = "tensor(float)"
_ERRORS_ONLY = 3


def main() -> int:
    """Compute until the service ends the conversation."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    begun = frames.read(sys.stdin.buffer)
    if begun is None:
        return 0
    terms, _ = begun
    limits = UploadLimits(memory_bytes=terms["memory_bytes"], cpu_seconds=_FOR_EVER)
    confine(limits, parent=terms["parent"])
    models = _Models(threads=terms["threads"])
    _say(answers, frames.spelled({}))
    while (frame := frames.read(sys.stdin.buffer)) is not None:
        _say(answers, models.answer(*frame))
    return 0


def _say(stream: IO[bytes], frame: bytes) -> None:
    stream.write(frame)
    stream.flush()


class _Models:
    """Those that are loaded, by name."""

    def __init__(self, *, threads: int) -> None:
        # Imported here: its threads must not start before the process is confined.
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as refusals

        self._runtime = onnxruntime
        self._refused = (refusals.Fail, refusals.InvalidGraph, refusals.InvalidProtobuf,
                         refusals.NotImplemented, refusals.InvalidArgument)  # fmt: skip
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = _ERRORS_ONLY
        # A thread that waits by spinning takes a core from whoever serves.
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._sessions: dict[str, Any] = {}

    def answer(self, head: dict[str, Any], parts: list[bytes]) -> bytes:
        """Load a model in place of others, or compute a batch."""
        if head["ask"] == "load":
            for name in head["drop"]:
                del self._sessions[name]
            return frames.spelled(self._load(head["model"], parts[0]))
        session = self._sessions[head["model"]]
        batch = np.frombuffer(parts[0], "<f4").reshape(head["shape"])
        found = session.run(None, {session.get_inputs()[0].name: batch})
        shapes = [list(each.shape) for each in found]
        rows = [np.ascontiguousarray(each, "<f4").data.cast("B") for each in found]
        return frames.spelled({"shapes": shapes}, *rows)

    def _load(self, name: str, data: bytes) -> dict[str, Any]:
        try:
            session = self._runtime.InferenceSession(
                data, self._options, providers=["CPUExecutionProvider"]
            )
            (taken,) = (_tensor(each) for each in session.get_inputs())
            given = [_tensor(each) for each in session.get_outputs()]
        except (ValueError, *self._refused) as error:
            return {"refused": str(error)}
        self._sessions[name] = session
        return {"input": taken, "outputs": given}


def _tensor(told: Any) -> tuple[str, list[int]]:
    """Its name and shape. Raises ValueError for one without a batch, or of no 32-bit floats."""
    batch, *fixed = told.shape
    if told.type != _FLOAT or isinstance(batch, int) or not all(type(n) is int for n in fixed):
        raise ValueError(f"{told.name} is {told.type} {told.shape}")
    return told.name, [-1, *fixed]


if __name__ == "__main__":
    sys.exit(main())
