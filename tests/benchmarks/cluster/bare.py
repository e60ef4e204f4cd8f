"""The same search without a job: `python -m tests.benchmarks.cluster.bare ENVELOPE THREADS`.

No lease, no supervisor, no progress, no checkpoints: the pipeline in a process of its own. Images
are read from, and the model's files written to, the same store.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from unittest.mock import patch
from uuid import UUID, uuid4

from core.config import Settings, UploadLimits
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import JobId, JobKind
from core.execution import child, compute, protocol
from core.execution.owned_images import OwnContext
from core.execution.process import environment
from core.services import jobs, wire, work
from core.storage.local import LocalStore
from core.storage.select import store_of
from tests.benchmarks.cluster.scene import Scene
from tests.unit.deployment.dockerfiles import PROJECT


@dataclass(frozen=True, slots=True)
class Unheard(OwnContext):
    """Nobody listens; what it writes lies where an attempt's files would."""

    own: JobId = field(default_factory=lambda: JobId(uuid4()))

    def key(self, name: str) -> str:
        """The object key of a file."""
        return keys.attempt(DEFAULT, self.own, 1, name)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one search took."""

    wall: float
    cpu: float


def envelope(scene: Scene, job: dict[str, Any], path: Path) -> None:
    """Write down what a child would be given for that search."""
    with patch.dict(os.environ, scene.cluster.workers[0].environment):
        settings = Settings()
    sessions = Sessions(settings.database).within(DEFAULT)
    try:
        with sessions.read() as session:
            inputs = work.inputs(session, jobs.get(session, JobId(UUID(job["id"]))))
    finally:
        sessions.dispose()
    path.write_text(json.dumps(wire.dump(inputs)))


def started(scene: Scene, path: Path, threads: int) -> "subprocess.Popen[bytes]":
    """The bare search, running."""
    command = [sys.executable, "-m", __spec__.name, str(path), str(threads)]
    told = scene.cluster.workers[0].environment  # the store is in there
    return subprocess.Popen(command, env=environment(told, threads=threads) | told, cwd=PROJECT)


def finished(process: "subprocess.Popen[bytes]", began: float) -> Spent:
    """What it took, once it has ended."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"the bare search failed ({process.returncode})")
    return Spent(time.perf_counter() - began, usage.ru_utime + usage.ru_stime)


def main(path: Path, threads: int) -> None:
    """Compute it."""
    settings = Settings()
    pipeline = child.find(JobKind.SEARCH)
    compute.settle(threads=threads)
    inputs = wire.load(protocol.INPUTS_OF[JobKind.SEARCH], json.loads(path.read_text()))
    with TemporaryDirectory() as scratch, TemporaryDirectory() as cache:
        context = Unheard(
            store=cast(LocalStore, store_of(settings)),
            scratch=Path(scratch),
            cache=Path(cache),
            device="cpu",
            resnet18_weights=None,
            upload_limits=UploadLimits(),
        )
        pipeline(inputs, context)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
