"""Uploads in pieces against a real server: cut and resumed, and several large ones at once.

The server is a process of its own, as deployed, over SQLite and local files; whoever sends is
another. What it has in the end is read from its store by the code that reads it for intake.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import multiprocessing
import os
import random
import shutil
import socket
import statistics
import struct
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import httpx
import psutil

from api import pieces
from core import bootstrap
from core.bootstrap import Container
from core.config import Settings, UploadLimits
from core.db import schema
from tests.fixtures.processes import Process
from tests.fixtures.projects import of_project
from tests.fixtures.servers import free_port, listens

PROJECT = Path(__file__).resolve().parents[3]
TUS = {"Tus-Resumable": "1.0.0"}
MIB, GIB = 1024**2, 1024**3
SIZES, CUTS = (1 * MIB, 8 * MIB), (1, 4)
RSS_BAR, HEALTH_BAR = 64.0, 100.0  # MiB more than before; milliseconds, of 99 in 100 answers
PATIENCE = 120.0

Row = dict[str, float | str | int]


@dataclass(frozen=True, slots=True)
class Server:
    """A running API process, and its store as another process sees it."""

    url: str
    pid: int
    container: Container

    def client(self) -> httpx.Client:
        """A well-behaved program on this machine."""
        return httpx.Client(base_url=self.url, timeout=PATIENCE, trust_env=False)

    def digest(self, address: str) -> str:
        """SHA-256 of the whole upload, put together out of the store."""
        upload_id = UUID(address.rsplit("/", 1)[1])
        with pieces.assembled(self.container, [upload_id]) as (path,), path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def serving(
    folder: Path, most_bytes: int, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """A fresh service in `folder` that takes uploads of `most_bytes`."""
    home, port = folder / "home", free_port()
    home.mkdir(parents=True)
    uploads = UploadLimits(archive_bytes=most_bytes, open_uploads=64)
    settings = Settings(home=home, zoo=False, uploads=uploads)
    schema.migrate(settings.database)
    told = {
        "HEADSTART_HOME": str(home),
        "HEADSTART_ZOO": "false",
        "HEADSTART_UPLOADS__ARCHIVE_BYTES": str(most_bytes),
        "HEADSTART_UPLOADS__OPEN_UPLOADS": str(uploads.open_uploads),
    }
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    process = Process(
        [sys.executable, "-m", "uvicorn", "--factory", "api.main:create", "--host", "127.0.0.1",
         "--port", str(port), "--no-access-log"],
        {**kept, **told, **(environment or {}), "PYTHONPATH": str(PROJECT)},
        folder=folder / "api",
        log=folder / "api.log",
        ready=lambda _: listens(port),
    )  # fmt: skip
    container = of_project(bootstrap.build(settings))
    try:
        process.start()
        yield Server(f"http://127.0.0.1:{port}", process.pid, container)
    finally:
        process.close()
        container.close()


def begun(client: httpx.Client, length: int) -> str:
    """The address of a new upload."""
    name = base64.b64encode(b"images.zip").decode()
    told = {**TUS, "Upload-Length": str(length), "Upload-Metadata": f"filename {name}"}
    answer = client.post("/v1/uploads", headers=told)
    answer.raise_for_status()
    return str(answer.headers["location"])


def offset(client: httpx.Client, address: str) -> int:
    """How far the server says the upload is."""
    answer = client.head(address, headers=TUS)
    answer.raise_for_status()
    return int(answer.headers["upload-offset"])


def heading(start: int) -> dict[str, str]:
    """What a piece says of itself."""
    return {
        **TUS,
        "Upload-Offset": str(start),
        "Content-Type": "application/offset+octet-stream",
    }


def broken(url: str, address: str, start: int, data: bytes, end: int, *, reset: bool) -> None:
    """Send what is left from `start`, over a connection that breaks at `end`.

    With `reset`, what is still on its way is lost with it.
    """
    place = urlsplit(url)
    lines = [f"PATCH {address} HTTP/1.1", f"Host: {place.netloc}"]
    lines += [f"{name}: {value}" for name, value in heading(start).items()]
    lines += [f"Content-Length: {len(data) - start}", "", ""]
    with closing(socket.create_connection((place.hostname, place.port))) as connection:
        connection.sendall("\r\n".join(lines).encode() + data[start:end])
        if reset:
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


def resumed(client: httpx.Client, address: str, data: bytes) -> None:
    """Ask how far it is and send the rest, as often as another request still holds it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        start = offset(client, address)
        if start == len(data):
            return
        answer = client.patch(address, content=data[start:], headers=heading(start))
        if answer.status_code not in (204, 409, 423):
            answer.raise_for_status()
        if answer.status_code != 204:
            time.sleep(0.01)  # the server has yet to see the break
    raise TimeoutError(f"{address} does not go on")


def cut_upload(server: Server, client: httpx.Client, dice: random.Random) -> tuple[int, bool]:
    """One upload cut some times at random bytes: how often, and whether its bytes are right."""
    data = dice.randbytes(dice.randint(*SIZES))
    address = begun(client, len(data))
    ends = sorted(dice.randrange(len(data)) for _ in range(dice.randint(*CUTS)))
    cuts = 0
    for end in ends:
        start = _settled(client, address)
        if start < end:
            broken(server.url, address, start, data, end, reset=dice.random() < 0.5)
            cuts += 1
    resumed(client, address, data)
    equal = server.digest(address) == hashlib.sha256(data).hexdigest()
    client.delete(address, headers=TUS).raise_for_status()
    return cuts, equal


def _settled(client: httpx.Client, address: str) -> int:
    """Where to go on, once two answers agree."""
    before, now = -1, offset(client, address)
    while before != now:
        time.sleep(0.02)
        before, now = now, offset(client, address)
    return now


def cut(server: Server, count: int) -> Row:
    """So many uploads, each cut and resumed."""
    dice, began = random.Random(0), time.perf_counter()
    with server.client() as client:
        found = [cut_upload(server, client, dice) for _ in range(count)]
    equal = sum(right for _, right in found)
    return {
        "measured": f"{count} uploads cut and resumed",
        "cuts": sum(cuts for cuts, _ in found),
        "equal digests": equal,
        "seconds": round(time.perf_counter() - began, 1),
        "ok": equal == count,
    }


def stream(seed: int, size: int) -> Iterator[bytes]:
    """The bytes of a large file that lies nowhere: no two of its MiB are equal."""
    block = random.Random(seed).randbytes(MIB)
    for number in itertools.count():
        left = size - number * MIB
        if left <= 0:
            return
        yield (number.to_bytes(8, "big") + block[8:])[:left]


def sent(url: str, address: str, seed: int, size: int) -> float:
    """Send one large file in one request, in whatever process this is; the seconds it took."""
    began = time.perf_counter()
    told = {**heading(0), "Content-Length": str(size)}
    with httpx.Client(base_url=url, timeout=PATIENCE, trust_env=False) as client:
        answer = client.patch(address, content=stream(seed, size), headers=told)
        answer.raise_for_status()
    return time.perf_counter() - began


@dataclass(slots=True)
class Watched:
    """A server while others load it: MiB at the most, milliseconds of each answer."""

    peak: float
    answers: list[float]


def watched(server: Server, busy: Callable[[], bool]) -> Watched:
    """Its memory and how long `/healthz` takes, while something is `busy`."""
    process = psutil.Process(server.pid)
    found, ended = Watched(0.0, []), threading.Event()

    def sample() -> None:
        while not ended.wait(0.02):
            found.peak = max(found.peak, process.memory_info().rss / MIB)

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    with server.client() as client:
        while busy():
            began = time.perf_counter()
            client.get("/healthz").raise_for_status()
            found.answers.append(1000 * (time.perf_counter() - began))
            time.sleep(0.02)
    ended.set()
    sampler.join()
    return found


def parallel(server: Server, count: int, size: int) -> Row:
    """Several large files at once: what the process takes, and how it answers meanwhile."""
    with server.client() as client, _senders(count) as pool:
        for seed in range(20):  # everything that is loaded once is loaded
            client.get("/healthz").raise_for_status()
            warm = begun(client, MIB)
            resumed(client, warm, next(stream(seed, MIB)))
            client.delete(warm, headers=TUS).raise_for_status()
        addresses = [begun(client, size) for _ in range(count)]
        began = time.perf_counter()
        before = psutil.Process(server.pid).memory_info().rss / MIB
        runs = [
            pool.submit(sent, server.url, address, seed, size)
            for seed, address in enumerate(addresses)
        ]
        found = watched(server, lambda: not all(run.done() for run in runs))
        seconds = max(run.result() for run in runs)
        whole = time.perf_counter() - began
        equal = sum(_arrived(server, client, *each, size) for each in enumerate(addresses))
    more, (half, most) = found.peak - before, _percentiles(found.answers)
    return {
        "measured": f"{count} x {size / GIB:g} GiB in parallel",
        "seconds": round(seconds, 1),
        "MiB/s": round(count * size / MIB / whole),
        "RSS before, MiB": round(before, 1),
        "RSS at its peak, MiB": round(found.peak, 1),
        "more, MiB": round(more, 1),
        "health p50, ms": round(half, 1),
        "health p99, ms": round(most, 1),
        "answers": len(found.answers),
        "equal digests": equal,
        "ok": more <= RSS_BAR and most <= HEALTH_BAR and equal == count,
    }


@contextmanager
def _senders(count: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes that have imported what they need."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        list(pool.map(time.sleep, [0.5] * count))
        yield pool


def _arrived(server: Server, client: httpx.Client, seed: int, address: str, size: int) -> bool:
    """Whether the store has what was sent; it is deleted then."""
    wanted = hashlib.sha256()
    for block in stream(seed, size):
        wanted.update(block)
    equal = server.digest(address) == wanted.hexdigest()
    client.delete(address, headers=TUS).raise_for_status()
    return equal


def _percentiles(values: list[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return cuts[49], cuts[98]


def measured(
    *, uploads: int, gib: float, home: Path | None = None, files: int = 4
) -> Iterator[Row]:
    """Both measurements, in a folder of their own under `home`."""
    size = round(gib * GIB)
    parent = home or Path("var/bench")
    parent.mkdir(parents=True, exist_ok=True)
    needed = (files + 2) * size  # one more while its pieces are joined, and spools
    if shutil.disk_usage(parent).free < needed:
        raise SystemExit(f"{parent} has no room for {needed / GIB:.1f} GiB: name another --home")
    with tempfile.TemporaryDirectory(prefix="uploads-", dir=parent.absolute()) as scratch:
        with serving(Path(scratch) / "cut", SIZES[1]) as server:
            yield cut(server, uploads)
        with serving(Path(scratch) / "parallel", size) as server:
            yield parallel(server, files, size)
