"""A child with tiny pipelines: `python -m tests.unit.execution.scenario NAME FOLDER`."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from core.domain.datasets import Embedding
from core.domain.jobs import JobKind, JobRecord, Progress
from core.domain.work import EmbedInputs, EmbedOutcome
from core.errors import Diverged, Unavailable
from core.execution import child
from core.execution.child_context import FollowerContext
from core.pipelines.context import Context, Stopped

STEPS = 6
KILLED_AT = 3


def outcome(inputs: EmbedInputs, seconds: float = 1.0) -> EmbedOutcome:
    return EmbedOutcome(
        Embedding(
            dataset_id=inputs.dataset.id,
            embedder=inputs.spec.embedder,
            key="embedding",
            sha256="0" * 64,
            dimension=4,
            samples=10,
            seconds=seconds,
        )
    )


def succeed(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    sys.stdout.write("what a library prints\n")
    os.write(1, b'{"event": "Finished", "body": {}}\n')
    values = {"threads": os.environ["OMP_NUM_THREADS"], "not_a_number": float("nan")}
    context.report(Progress("work", 0.5, 2.0), JobRecord("work", 1, values))
    (context.scratch / "file").write_text("gone when the attempt ends")
    (folder / "torch").write_text(str("torch" in sys.modules))
    (folder / "secrets").write_text(str([n for n in os.environ if n.startswith("HEADSTART_")]))
    return outcome(inputs)


def steps(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Counts upwards, checkpoints each step, and dies once in the middle."""
    restored = context.restore()
    total = int(restored.path.read_text()) if restored else 0
    first = restored.step + 1 if restored else 1
    for step in range(first, STEPS + 1):
        total += step
        with (folder / "log").open("a") as log:
            log.write(f"{step}\n")
        path = context.scratch / "state.txt"
        path.write_text(str(total))
        context.checkpoint(step, path)
        context.report(Progress("work", step / STEPS), JobRecord("work", step, {"total": total}))
        if step == KILLED_AT and not (folder / "killed").exists():
            (folder / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return outcome(inputs, seconds=float(total))


def diverge(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    raise Diverged("The loss is not finite.")


def break_down(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    raise RuntimeError("/secret/path")


def run_out(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    raise MemoryError


def miss(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    raise Unavailable("The store does not answer.")


def fill(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Finds its disk full until somebody makes `room`."""
    if not (folder / "room").exists():
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"0")
    return outcome(inputs)


def break_device(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Breaks it once."""
    if not (folder / "broken").exists():
        (folder / "broken").touch()
        raise RuntimeError("CUDA error: unspecified launch failure")
    return outcome(inputs)


def lose_device(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Has lost the accelerator, whatever attempt this is."""
    with (folder / "log").open("a") as log:
        log.write(f"{context.device}\n")
    if context.device != "cpu":
        raise RuntimeError("CUDA error: no CUDA-capable device is detected")
    return outcome(inputs)


class OutOfMemoryError(RuntimeError):
    """Bears the name that torch's has, which need not be loaded."""


def exhaust(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Fits with a quarter of the batch, and dies for another reason in between."""
    with (folder / "log").open("a") as log:
        log.write(f"{context.halvings}\n")
    if (folder / "log").read_text().split() == ["0", "1"]:
        os.kill(os.getpid(), signal.SIGKILL)
    if context.halvings < 2:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    return outcome(inputs)


def halve(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Fits with half the batch."""
    if context.halvings < 1:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    return outcome(inputs, seconds=context.halvings)


def overflow(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Never fits."""
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


def die(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    with (folder / "log").open("a") as log:
        log.write("died\n")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def wait(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Reports for ever, or until somebody writes `enough`."""
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "ready").touch()
    count = 0
    while not (folder / "enough").exists():
        count += 1
        context.report(Progress("work", 0.1), JobRecord("work", 1, {"count": count}))
        time.sleep(0.02)
    return outcome(inputs)


def hang(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Never reports, and holds a process of its own."""
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (folder / "grandchild").write_text(str(other.pid))
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "ready").touch()
    time.sleep(600)
    raise AssertionError


def hold(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Never comes back from foreign code, which holds the interpreter's lock."""
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "ready").touch()
    ctypes.PyDLL(None).sleep(600)
    raise AssertionError


def plod(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Has nothing to report for long, but goes on."""
    context.alive()
    (folder / "ready").touch()
    for _ in range(40):
        time.sleep(0.1)
        context.alive()
    return outcome(inputs)


def slow_down(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Gives signs seldom, and then takes longer than the floor for once."""
    context.alive()
    (folder / "ready").touch()
    for seconds in (0.4, 0.4, 0.4, 3.0):
        time.sleep(seconds)
        context.alive()
    return outcome(inputs)


def finish_epoch(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """Hears that it should stop amid an epoch, and keeps what is done at its end."""
    restored = context.restore()
    if restored is not None:
        return outcome(inputs, seconds=float(restored.step))
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "ready").touch()
    time.sleep(1.5)
    try:
        context.report(Progress("work", 0.5), JobRecord("work", 1, {}))
    finally:
        path = context.scratch / "state.txt"
        path.write_text("1")
        context.checkpoint(1, path)
    raise AssertionError("nobody asked for the end")


def muster(context: Context, folder: Path) -> int:
    """Which of three processes this is; each comes back when all have written their ids down."""
    own = context.scratch.name.removeprefix("rank-")
    rank = int(own) if isinstance(context, FollowerContext) else 0
    (folder / f"folder-{rank}").write_text(str(context.scratch))
    partial = folder / f"partial-{rank}"
    partial.write_text(str(os.getpid()))
    partial.rename(folder / f"pid-{rank}")
    while not all((folder / f"pid-{each}").exists() for each in range(3)):
        time.sleep(0.01)
    return rank


def lose_touch() -> None:
    """Fail as what several do together fails in each when one of them is gone."""
    raise RuntimeError("Connection closed by peer")


def pull_together(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """All say and keep the same; the others leave early."""
    rank = muster(context, folder)
    context.report(Progress("work", 0.5), JobRecord("work", 1, {"rank": rank}))
    path = context.scratch / "state.txt"
    path.write_text(str(rank))
    context.checkpoint(1, path)
    if rank:
        raise Stopped
    return outcome(inputs)


def run_short_in_one(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """One has no memory, one hears of it by the echo, and the first hears nothing."""
    rank = muster(context, folder)
    if rank == 1:
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
    if rank == 2:
        lose_touch()
    time.sleep(600)
    raise AssertionError


def lose_one(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """One is killed, and the others fail for it."""
    if muster(context, folder) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    lose_touch()
    raise AssertionError


def fail_at_first(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """The first fails, and the others for it."""
    if muster(context, folder) == 0:
        raise Diverged("The loss is not finite.")
    lose_touch()
    raise AssertionError


def stand_still(inputs: EmbedInputs, context: Context, folder: Path) -> EmbedOutcome:
    """All wait for ever."""
    if muster(context, folder) == 0:
        (folder / "ready").touch()
    time.sleep(600)
    raise AssertionError


SCENARIOS: dict[str, Callable[[EmbedInputs, Context, Path], EmbedOutcome]] = {
    pipeline.__name__: pipeline
    for pipeline in (
        succeed,
        steps,
        diverge,
        break_down,
        run_out,
        miss,
        fill,
        break_device,
        lose_device,
        exhaust,
        halve,
        overflow,
        die,
        wait,
        hang,
        hold,
        plod,
        slow_down,
        finish_epoch,
        pull_together,
        run_short_in_one,
        lose_one,
        fail_at_first,
        stand_still,
    )
}


def find(kind: JobKind) -> child.Pipeline:
    assert kind is JobKind.EMBED
    pipeline = SCENARIOS[sys.argv[1]]
    return lambda inputs, context: pipeline(inputs, context, Path(sys.argv[2]))


if __name__ == "__main__":
    child.main(find)
