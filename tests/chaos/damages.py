"""Checkpoints that are not what they were: found out, and the one before is taken."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from core.config import Settings
from core.domain.identity import DEFAULT
from core.domain.jobs import Checkpoint, JobId, JobKind
from core.execution import protocol
from core.execution.child_context import ChildContext
from core.services import jobs
from tests.chaos import stores
from tests.chaos.cluster import QUICK, clustered
from tests.chaos.processes import Servers
from tests.chaos.report import Row, judge
from tests.chaos.stores import Storage

TIMINGS = QUICK.model_copy(update={"retry_delays": (0.5,)})
Damage = Callable[[bytes, random.Random], bytes | None]
DAMAGES: dict[str, Damage] = {
    "a bit flipped": lambda content, dice: _flipped(content, dice),
    "cut short": lambda content, dice: content[: dice.randrange(len(content))],
    "zeros inside": lambda content, dice: _zeroed(content, dice),
    "longer": lambda content, dice: content + dice.randbytes(1 + dice.randrange(64)),
    "other bytes": lambda content, dice: dice.randbytes(len(content)),
    "gone": lambda content, dice: None,
}


def corruption(servers: Servers, runs: int, seed: int) -> Row:
    """Checkpoints damaged in the store: each is found out and the one before is taken.

    Read as a child reads them, and in one of a hundred cases by whole jobs that find theirs
    damaged when they are resumed. The worst seconds are those of one reading.
    """
    dice, missed, worst = random.Random(seed), list[str](), 0.0
    with TemporaryDirectory(prefix="headstart-chaos-") as folder:
        storage = stores.fresh(servers.s3, Path(folder) / "objects")
        for number in range(runs):
            name = list(DAMAGES)[number % len(DAMAGES)]
            begun = time.monotonic()
            if not found_out(Path(folder) / str(number), DAMAGES[name], dice, storage):
                missed.append(f"not found out: {name}")
            worst = max(worst, time.monotonic() - begun)
    with clustered(servers, TIMINGS) as cluster:
        cluster.worker(slots=2)
        for _ in range(max(2, runs // 100)):
            cluster.play("spoil", 4, 100)
        cluster.settle()
        for job_id in cluster.played:
            with cluster.container.sessions.read() as session:
                resumed = [each.values for each in jobs.records(session, job_id, stage="resume")]
            if not resumed or resumed[0]["reason"] != "1 newer unreadable":
                missed.append(f"{job_id} resumed as {resumed}")
        return judge(
            cluster, "checkpoints damaged in the store", runs=runs, worst=worst, complaints=missed
        )


def found_out(home: Path, damage: Damage, dice: random.Random, storage: Storage) -> bool:
    """Whether, of two checkpoints, the newer one is damaged and the older one is taken."""
    told: list[Checkpoint] = []
    content = [dice.randbytes(1 + dice.randrange(4000)) for _ in range(2)]
    whose = {"job_id": JobId(UUID(int=dice.getrandbits(128))), "storage": storage}
    writer = context(home, "writer", told, fence=1, **whose)
    for step, each in enumerate(content, 1):
        path = writer.scratch / "state.bin"
        path.write_bytes(each)
        writer.checkpoint(step, path)
    stores.replace(storage, told[1].key, damage(content[1], dice))
    reader = context(home, "reader", told[::-1], fence=2, **whose)
    restored = reader.restore()
    return restored is not None and (restored.step, restored.path.read_bytes()) == (1, content[0])


def context(
    home: Path,
    name: str,
    kept: list[Checkpoint],
    *,
    fence: int,
    job_id: JobId,
    storage: Storage,
) -> ChildContext:
    """What a child has; checkpoints that it writes are added to `kept`."""
    scratch = home / name
    scratch.mkdir(parents=True)
    settings = Settings(home=home, storage=storage)
    envelope = protocol.Envelope(
        project_id=DEFAULT,
        job_id=job_id,
        kind=JobKind.EMBED,
        fence=fence,
        attempt=fence,
        inputs=None,
        checkpoints=tuple(kept),
        settings=protocol.portable(settings),
        threads=1,
        device="cpu",
        scratch=str(scratch),
        supervisor=os.getpid(),
    )

    def say_(event: protocol.Event) -> None:
        if isinstance(event, protocol.Checkpointed):
            kept.append(event.checkpoint)

    return ChildContext(envelope, say=say_)


def _flipped(content: bytes, dice: random.Random) -> bytes:
    changed = bytearray(content)
    changed[dice.randrange(len(changed))] ^= 1 << dice.randrange(8)
    return bytes(changed)


def _zeroed(content: bytes, dice: random.Random) -> bytes:
    """A run of bytes lost; at least one that was not zero."""
    at = next(each for each in range(len(content)) if content[each])
    return content[:at] + bytes(len(content) - at)
