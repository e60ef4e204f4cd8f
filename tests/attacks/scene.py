"""A service to be attacked, in a folder of its own, and what an attack may not leave there."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import httpx
from sqlalchemy import func, select

from core.db.dataset_tables import DatasetRow
from core.db.job_tables import JobRow
from core.db.upload_tables import UploadRow
from tests.benchmarks.intake.uploads import Server, serving

ARCHIVE_BYTES = 256 * 1024**2
SYSTEM = ("/etc", "/var/spool", "/usr/local/bin")  # where an archive would like to be
FORGED = "forged-line"
# Lines of the server that carries the service, which no request has a say in.
SERVER_LINES = ("INFO:  ", "WARNING:  ")


@dataclass(frozen=True, slots=True)
class Kept:
    """Everything that is there: files, and rows."""

    outside: frozenset[str]
    scratch: frozenset[str]
    objects: frozenset[str]
    datasets: int
    uploads: int
    jobs: int


@dataclass(slots=True)
class Scene:
    """The service, and who attacks it."""

    server: Server
    folder: Path
    client: httpx.Client
    began: float

    @property
    def home(self) -> Path:
        """Where the service may write."""
        return self.server.container.settings.home

    def kept(self) -> Kept:
        """What is there now."""
        home = self.home
        apart = (home, self.sent)
        with self.server.container.sessions.read() as session:
            datasets, uploads, jobs = (
                session.scalar(select(func.count()).select_from(table)) or 0
                for table in (DatasetRow, UploadRow, JobRow)
            )
        return Kept(
            _paths(self.folder, apart),
            _paths(home / "scratch"),
            frozenset(p for p in _paths(home / "objects") if not (home / "objects" / p).is_dir()),
            datasets,
            uploads,
            jobs,
        )

    @property
    def sent(self) -> Path:
        """Where the attacks' own files lie."""
        return self.folder / "sent"

    def settled(self) -> Kept:
        """What is there once requests that broke off have been cleared up after."""
        deadline = time.monotonic() + 5.0
        while (found := self.kept()).scratch and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def drop_uploads(self) -> None:
        """Delete uploads that a refusal has left to be tried again."""
        with self.server.container.sessions.read() as session:
            ids: Sequence[UUID] = session.scalars(select(UploadRow.id)).all()
        for upload_id in ids:
            with contextlib.suppress(httpx.TransportError):
                self.client.delete(f"/v1/uploads/{upload_id}", headers={"Tus-Resumable": "1.0.0"})

    def healthy(self) -> bool:
        """Whether the service answers."""
        try:
            return self.client.get("/healthz").status_code == 200
        except httpx.TransportError:
            return False

    def log(self) -> list[str]:
        """What the service has written so far."""
        path = self.home.parent / "api.log"
        return path.read_text("utf-8", "replace").splitlines()


@contextlib.contextmanager
def staged(folder: Path) -> Iterator[Scene]:
    """A fresh service, several folders below `folder`: room for what climbs out."""
    below = folder / "one" / "two" / "three"
    temporary = folder / "tmp"
    for each in (below, temporary, folder / "sent"):
        each.mkdir(parents=True)
    told = {"HEADSTART_LOG_FORMAT": "json", "TMPDIR": str(temporary)}
    with (
        serving(below, ARCHIVE_BYTES, told) as server,
        httpx.Client(base_url=server.url, timeout=120.0, trust_env=False) as client,
    ):
        client.get("/healthz").raise_for_status()
        client.get("/").raise_for_status()  # what is loaded once is loaded
        yield Scene(server, folder, client, time.time())


def unlike_json(lines: Sequence[str]) -> list[str]:
    """Lines of a log that are not one object each, or that a request has forged."""
    wrong = []
    for line in lines:
        if line.startswith(SERVER_LINES) and FORGED not in line:
            continue
        try:
            if isinstance(json.loads(line), dict) and not line.startswith('{"' + FORGED):
                continue
        except ValueError:
            pass
        wrong.append(line)
    return wrong


def younger(folders: Sequence[str], since: float) -> list[str]:
    """Files in these folders that were written since (`find -newer`)."""
    found = []
    for folder in folders:
        for path in Path(folder).rglob("*"):
            with contextlib.suppress(OSError):
                found_there = path.lstat()  # links into /proc are always young
                if stat.S_ISREG(found_there.st_mode) and found_there.st_mtime >= since:
                    found.append(str(path))
    return found


def _paths(folder: Path, apart: Sequence[Path] = ()) -> frozenset[str]:
    """Everything below, but what is below those apart; files may go while it is looked at."""
    found = set()
    for root, folders, files in os.walk(folder):
        place = Path(root)
        found |= {str((place / name).relative_to(folder)) for name in (*folders, *files)}
        folders[:] = [name for name in folders if place / name not in apart]
    return frozenset(found)
