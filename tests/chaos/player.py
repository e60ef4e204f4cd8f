"""A child with small deterministic pipelines: `python -m tests.chaos.player FOLDER`.

Embeddings by resnet18 are played: its version says how, as in `resnet18@count-6x300-17` (six steps
of 300 ms, number 17). All other jobs are the product's own. Each step hashes the state before it,
so that a step lost, repeated or taken from another state shows in the answer. FOLDER gets, for
each job, a line for each step done (`FENCE STEP TIME`) and each process begun (`FENCE begun PID`).
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from core.domain.datasets import Embedding
from core.domain.jobs import JobKind, JobRecord, Progress
from core.domain.work import EmbedInputs, EmbedOutcome, Outcome
from core.execution import child
from core.pipelines.context import Context

NAMED = "resnet18@"  # the embedder whose version is anything


@dataclass(frozen=True, slots=True)
class Play:
    """What one job does."""

    kind: str
    steps: int
    milliseconds: int
    number: int

    @classmethod
    def read(cls, name: str) -> "Play":
        """The play of an embedder's name."""
        kind, size, number = name.removeprefix(NAMED).split("-")
        steps, milliseconds = size.split("x")
        return cls(kind, int(steps), int(milliseconds), int(number))

    @property
    def name(self) -> str:
        """How it is asked for."""
        return f"{NAMED}{self.kind}-{self.steps}x{self.milliseconds}-{self.number}"

    def state(self, step: int) -> str:
        """What the job knows after a step."""
        state = hashlib.sha256(str(self.number).encode()).hexdigest()
        for each in range(1, step + 1):
            state = follow(state, each)
        return state

    @property
    def answer(self) -> str:
        """What it must end with."""
        return self.state(self.steps)


def follow(state: str, step: int) -> str:
    """The state after the step."""
    return hashlib.sha256(f"{state}{step}".encode()).hexdigest()


class Actor:
    """One attempt."""

    def __init__(self, inputs: EmbedInputs, context: Context, folder: Path) -> None:
        self._inputs, self._context = inputs, context
        self.play = Play.read(inputs.spec.embedder)
        _, _, job, attempt, _ = context.key("any").split("/")
        self.fence = int(attempt[1:])
        self._trace = folder / job
        self.tell(f"begun {os.getpid()}")
        if self.play.kind == "full" and Path(os.environ["CHAOS_NO_ROOM"]).exists():
            with open("/dev/full", "wb", buffering=0) as disk:
                disk.write(b"0")

    def tell(self, words: str) -> None:
        """Write a line that outlives this process."""
        with self._trace.open("a") as trace:
            trace.write(f"{self.fence} {words}\n")

    def run(self) -> EmbedOutcome:
        """Count from wherever an earlier attempt has kept a state."""
        restored = self._context.restore()
        step = restored.step if restored else 0
        state = restored.path.read_text() if restored else self.play.state(0)
        while step < self.play.steps:
            self._context.report(Progress("work", step / self.play.steps))
            time.sleep(self.play.milliseconds / 1000)
            step, state = step + 1, follow(state, step + 1)
            self.tell(f"{step} {time.monotonic():.3f}")
            if self.fence == 1 and step == self.play.steps // 2 + 1:
                ACCIDENTS[self.play.kind](self)
            self._keep(step, state)
        return self._outcome(state)

    def _keep(self, step: int, state: str) -> None:
        path = self._context.scratch / "state.txt"
        path.write_text(state)
        self._context.checkpoint(step, path)
        record = JobRecord("work", step, {"state": state})
        self._context.report(Progress("work", step / self.play.steps), record)

    def _outcome(self, state: str) -> EmbedOutcome:
        path = self._context.scratch / "answer.txt"
        path.write_text(state)
        key = self._context.key("answer.txt")
        self._context.store.put(key, path)
        dataset, embedder = self._inputs.dataset.id, self._inputs.spec.embedder
        return EmbedOutcome(Embedding(dataset, embedder, key, state, 4, 10, 1.0))

    def spoil(self) -> None:
        """Wait until the last checkpoint is known, change a byte of it, and die."""
        time.sleep(1.5)
        from tests.chaos import stores  # boto3 takes a while, for all the others in vain

        storage, mine = stores.told(), self._context.key("checkpoints/")
        kept = [key for key in stores.keys(storage) if key.startswith(mine)]
        newest = max(kept, key=lambda key: int(Path(key).stem))
        content = bytearray(stores.content(storage, newest))
        content[len(content) // 2] ^= 1
        stores.replace(storage, newest, bytes(content))
        die()


def die() -> None:
    """End without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def poison(inputs: EmbedInputs, actor: Actor) -> EmbedOutcome:
    """Fail in the way that the play's kind names, at every attempt."""
    match actor.play.kind:
        case "die":
            die()
        case "exhaust":
            raise MemoryError
        case "hang":  # like a call into a driver that does not come back
            os.kill(os.getpid(), signal.SIGSTOP)
        case "stubborn":  # hears nothing, and holds a process of its own
            with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as other:
                actor.tell(f"begun {other.pid}")
    raise AssertionError(actor.play.kind)


ACCIDENTS: dict[str, Callable[[Actor], None]] = {
    "count": lambda actor: None,
    "full": lambda actor: None,
    "falter": lambda actor: die(),
    "spoil": Actor.spoil,
}
POISONS = ("die", "exhaust", "hang", "stubborn")


def find(kind: JobKind) -> child.Pipeline:
    """A played pipeline for embeddings that are named so, the product's for the rest."""
    if kind is not JobKind.EMBED:
        return child.find(kind)

    def play(inputs: EmbedInputs, context: Context) -> Outcome:
        if not inputs.spec.embedder.startswith(NAMED):
            return child.find(kind)(inputs, context)
        actor = Actor(inputs, context, Path(sys.argv[1]))
        return poison(inputs, actor) if actor.play.kind in POISONS else actor.run()

    return play


if __name__ == "__main__":
    child.main(find)
