"""Valid archives, each damaged in its own way, over HTTP and in confined processes.

What is sent over HTTP goes all the way, and has a process of its own for every archive. The others
are read by `tests.attacks.mutants`: confined as the service's child is, by the same code, but many
archives to a process, so that ten thousand take minutes.
"""

from __future__ import annotations

import io
import json
import random
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from core.config import UploadLimits
from core.data import sandbox
from tests.attacks import columns
from tests.attacks.doors import Answer, by_rest
from tests.attacks.running import CPU_SECONDS, MEMORY_MIB, dear, left
from tests.attacks.scene import Scene
from tests.attacks.watching import watched
from tests.unit.data.builders import Files, dataset, tar_bytes, zip_bytes
from tests.unit.data.tables import CLASSED, rows, samples, with_csv

SMALL: Files = {**dataset(3), "notes.txt": b"hello" * 20}
BATCH = 250


def _zip64() -> bytes:
    """As it is written where sizes are not known beforehand."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in SMALL.items():
            with file.open(name, "w", force_zip64=True) as entry:
                entry.write(data)
    return buffer.getvalue()


def _pax() -> bytes:
    """Every member with an extended header."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        for name, data in SMALL.items():
            info = tarfile.TarInfo(f"é/{name}")
            info.size, info.mtime = len(data), 1.5
            file.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


MAKERS: Mapping[str, Callable[[], bytes]] = {
    "zip": lambda: zip_bytes(SMALL),
    "stored zip": lambda: zip_bytes(SMALL, 0),
    "zip64": _zip64,
    "tar": lambda: tar_bytes(SMALL),
    "pax tar": _pax,
    "tar.gz": lambda: tar_bytes(SMALL, "w:gz"),
    "tar.zst": lambda: pa.compress(tar_bytes(SMALL), codec="zstd", asbytes=True),
    "Parquet": lambda: columns.parquet_of(columns.honest()),
    "WebDataset": lambda: tar_bytes(samples("json", CLASSED)),
    "zip with a table": lambda: with_csv(rows()),
}
KINDS = tuple(MAKERS)


@cache
def _valid(kind: str) -> bytes:
    return MAKERS[kind]()


def mutated(number: int, seed: int) -> tuple[str, bytes]:
    """The kind and the bytes of one damaged archive, always the same."""
    dice = random.Random(f"{seed} {number}")
    kind = KINDS[number % len(KINDS)]
    data = bytearray(_valid(kind))
    for _ in range(dice.choice((1, 1, 1, 2))):
        dice.choices(DAMAGES, weights=(8, 1, 1, 1, 1, 1))[0](data, dice)
    return kind, bytes(data)


def _flip(data: bytearray, dice: random.Random) -> None:
    for _ in range(dice.choice((1, 1, 2, 8))):
        if data:
            data[dice.randrange(len(data))] = dice.randrange(256)


def _range(data: bytearray, dice: random.Random) -> slice:
    start = dice.randrange(len(data) + 1)
    return slice(start, min(len(data), start + dice.choice((1, 4, 30, 512, 2_000))))


def _cut(data: bytearray, dice: random.Random) -> None:
    del data[dice.randrange(len(data) + 1) :]


def _drop(data: bytearray, dice: random.Random) -> None:
    del data[_range(data, dice)]


def _again(data: bytearray, dice: random.Random) -> None:
    """A range comes once more, somewhere else."""
    part, at = data[_range(data, dice)], dice.randrange(len(data) + 1)
    data[at:at] = part


def _splice(data: bytearray, dice: random.Random) -> None:
    """A range of another archive in place of one's own."""
    other = bytearray(_valid(dice.choice(KINDS)))
    data[_range(data, dice)] = other[_range(other, dice)]


def _blank(data: bytearray, dice: random.Random) -> None:
    where = _range(data, dice)
    data[where] = bytes([dice.choice((0, 255))]) * len(data[where])


DAMAGES = (_flip, _cut, _drop, _again, _splice, _blank)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one."""

    number: int
    kind: str
    code: str
    cpu: float
    mib: float
    wrong: tuple[str, ...]


def over_http(scene: Scene, numbers: Sequence[int], seed: int) -> Iterator[Outcome]:
    """Each by a request of its own."""
    path = scene.sent / "mutant"
    before = scene.kept()
    for number in numbers:
        kind, data = mutated(number, seed)
        path.write_bytes(data)
        with watched(scene.server.pid) as cost:
            answer = by_rest(scene.client, path, f"mutant {number}", unreadable_share=0.5)
        made = int(answer.code == "accepted")
        wrong = [*_unfit(answer), *dear(cost), *left(before, scene, made=made)]
        yield Outcome(number, kind, answer.code, cost.cpu, cost.largest, tuple(wrong))
        before = scene.kept() if made else before
    path.unlink(missing_ok=True)


def _unfit(answer: Answer) -> Iterator[str]:
    if answer.status not in (200, 201, 413, 422):
        yield f"answered {answer.status} {answer.code}"
    if answer.wrong:
        yield answer.wrong
    if answer.code == "unreadable_archive":  # the child has died, as nothing may make it
        yield "its reader crashed"


def confined(
    folder: Path, numbers: Sequence[int], seed: int, workers: int = 2
) -> Iterator[Outcome]:
    """Many to a process, each process confined."""
    batches = [numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH)]
    folders = [folder / f"batch-{at}" for at in range(len(batches))]
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(
            lambda each: _batch(*each, seed), zip(folders, batches, strict=True)
        ):
            yield from found


def _batch(folder: Path, numbers: Sequence[int], seed: int) -> list[Outcome]:
    """Go on after one that ends its process, which is a miss."""
    (folder / "run").mkdir(parents=True)
    made = [(number, *mutated(number, seed)) for number in numbers]
    paths = [folder / str(number) for number in numbers]
    for path, (_, _, data) in zip(paths, made, strict=True):
        path.write_bytes(data)
    found: list[Outcome] = []
    while len(found) < len(made):
        told, status = _process(folder / "run", paths[len(found) :])
        if len(told) + len(found) < len(made):
            words = f"ended its process with {status}"
            told.append({"code": "", "cpu": 0.0, "mib": 0.0, "wrong": [words]})
        rest = made[len(found) :]
        found += [
            _outcome(number, kind, each)
            for (number, kind, _), each in zip(rest, told, strict=False)
        ]
    shutil.rmtree(folder)
    return found


def _process(folder: Path, paths: Sequence[Path]) -> tuple[list[dict[str, Any]], int]:
    request = {
        "archives": [str(path) for path in paths], "folder": str(folder),
        "limits": UploadLimits().model_dump(),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-m", "tests.attacks.mutants"],
        input=json.dumps(request).encode() + b"\n",
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=sandbox.environment(),
        cwd=folder,
        check=False,
    )
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode


def _outcome(number: int, kind: str, told: dict[str, Any]) -> Outcome:
    wrong = list(told["wrong"])
    if told["cpu"] > CPU_SECONDS:
        wrong.append(f"took {told['cpu']:.1f} s of CPU")
    if told["mib"] > MEMORY_MIB:
        wrong.append(f"took {told['mib']:.0f} MiB")
    return Outcome(
        number, kind, told["code"], told["cpu"], told["mib"], tuple(wrong)
    )  # fmt: skip


def summary(outcomes: Sequence[Outcome], how: str) -> str:
    """What became of all of them, on two lines."""
    codes = Counter(each.code for each in outcomes)
    missed = sum(bool(each.wrong) for each in outcomes)
    first = (
        f"{len(outcomes)} mutated archives {how}: {missed} missed; CPU at most "
        f"{max(each.cpu for each in outcomes):.2f} s, memory at most "
        f"{max(each.mib for each in outcomes):.0f} MiB"
    )
    return f"{first}\n  {', '.join(f'{code} {count}' for code, count in codes.most_common())}"
