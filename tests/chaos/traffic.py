"""Visitors of the deployed API that do everything by turns, and never have much open at once."""

import random
import threading
from types import TracebackType
from uuid import UUID

import httpx

from core.domain.jobs import JobId, JobState
from tests.chaos.client import Client
from tests.chaos.cluster import Cluster
from tests.unit.pipelines.conftest import striped_archive

OPEN = 2  # jobs that one visitor waits for, so that what waits cannot rise by itself
PAUSE_SECONDS = 0.2
PAGES = ("/", "/v1/jobs?page_size=50", "/v1/datasets", "/v1/models", "/readyz", "/jobs")
ENDED = {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}
ARCHIVE = {"content-type": "application/zip"}
EITHER = {JobState.CANCELLED, JobState.SUCCEEDED}


class Visitor:
    """One of them, with its own dice."""

    def __init__(self, cluster: Cluster, url: str, dice: random.Random) -> None:
        self.client = Client(cluster, url)
        self.ends: dict[JobId, set[JobState]] = {}
        self.uploads = 0
        self._open: list[JobId] = []
        self._dice = dice
        self._url = url

    def act(self) -> None:
        """Do one thing."""
        self._open = [each for each in self._open if not self._ended(each)]
        if len(self._open) < OPEN:
            kind = self._dice.choices(("count", "falter"), (9, 1))[0]
            size = (self._dice.randint(2, 6), 100)
            if (job_id := self.client.submit(kind, size)) is not None:
                self._open.append(job_id)
        if not self.uploads:  # each does that once at least, however short the time
            self._upload()
        else:
            self._dice.choices((self._read, self._cancel, self._upload), (40, 8, 1))[0]()

    def _ended(self, job_id: JobId) -> bool:
        answer = self._ask("GET", f"/v1/jobs/{job_id}")
        return answer is not None and answer.json()["state"] in ENDED

    def _read(self) -> None:
        self._ask("GET", self._dice.choice(PAGES))

    def _cancel(self) -> None:
        """Ask for the end of a job, once; without an answer it may have been heard or not."""
        job_id = self._dice.choice(self._open) if self._open else None
        if job_id is None or job_id in self.ends:
            return
        self.ends[job_id] = EITHER
        answer = self._ask("POST", f"/v1/jobs/{job_id}:cancel", or_else=httpx.codes.CONFLICT)
        if answer is not None and answer.status_code == httpx.codes.ACCEPTED:
            self.ends[job_id] = {JobState.CANCELLED}

    def _upload(self) -> None:
        if len(self._open) > OPEN:  # it may take long where there is much else to do
            return
        content = striped_archive(classes=2, seed=self._dice.randrange(2**31), train=8, test=2)
        path = "/v1/datasets?name=stripes"
        answer = self._ask("POST", path, content=content, headers=ARCHIVE)
        if answer is not None:
            self.uploads += 1
            self._open.append(JobId(UUID(answer.json()["embed_job"]["id"])))
            self.client.cluster.accepted.append(self._open[-1])

    def _ask(
        self,
        method: str,
        path: str,
        *,
        or_else: int = httpx.codes.OK,
        content: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> httpx.Response | None:
        """The answer; None for a refusal that says when to ask again."""
        try:
            answer = self.client.http.request(
                method, f"{self._url}{path}", content=content, headers=headers
            )
        except httpx.TransportError as error:
            self.client.complaints.append(f"no answer to {path}: {error!r}")
            return None
        # /readyz tells of an absent broker or database without saying for how long.
        if answer.status_code == 503 and ("retry-after" in answer.headers or "readyz" in path):
            self.client.refused += 1
            return None
        if not answer.is_success and answer.status_code != or_else:
            self.client.complaints.append(f"{path}: {answer.status_code} {answer.text[:200]}")
            return None
        return answer


class Traffic:
    """Several visitors at once while its block runs."""

    def __init__(self, cluster: Cluster, url: str, seed: int, *, visitors: int = 3) -> None:
        self.visitors = [Visitor(cluster, url, random.Random(seed + n)) for n in range(visitors)]
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(each,)) for each in self.visitors
        ]

    def __enter__(self) -> "Traffic":
        for each in self._threads:
            each.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._stopping.set()
        for each in self._threads:
            each.join()
        for visitor in self.visitors:
            visitor.client.http.close()

    @property
    def complaints(self) -> list[str]:
        """Every answer that should not have been, and every visitor that has left."""
        return [words for each in self.visitors for words in each.client.complaints]

    @property
    def ends(self) -> dict[JobId, set[JobState]]:
        """How the jobs may have ended whose end was asked for."""
        return {job_id: ends for each in self.visitors for job_id, ends in each.ends.items()}

    def _run(self, visitor: Visitor) -> None:
        while not self._stopping.wait(PAUSE_SECONDS):
            try:
                visitor.act()
            except Exception as error:  # noqa: BLE001 - it is told of when all is over
                visitor.client.complaints.append(f"a visitor has left: {error!r}")
                return
