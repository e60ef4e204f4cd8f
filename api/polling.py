"""Reads of single jobs: all who ask while one read runs are answered by the next.

Pipelines poll, many at once and often. What a read costs, a thread, a transaction and a round
trip, is shared by all of a project who ask within the same milliseconds. It asks which version of
each job there is; a job is read and written as JSON once for each version.
"""

import asyncio
import math
import time
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from fastapi import Request, Response

from api import conditional
from api.views.jobs import JobView
from core.db.sessions import Sessions
from core.domain.identity import ProjectId
from core.domain.jobs import Children, Job, JobId
from core.services import fanout, jobs, news

Asked = tuple[ProjectId, JobId]

KEPT = 1_000  # jobs


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it stood at one moment, its `version` then, its view as JSON, and the `pages` that
    were drawn of it since."""

    job: Job
    version: str
    body: str
    pages: dict[Hashable, Response] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, job: Job, standing: Mapping[JobId, Children]) -> "Seen":
        """The job, with how the children of groups stand."""
        version = news.version(job, standing)
        return cls(job, version, JobView.of(job, standing).model_dump_json())

    def tag(self, request: Request) -> str:
        """The entity tag of its view; another release may show the same job otherwise."""
        return f'"{request.app.version}-{self.version}"'

    def is_known_to(self, request: Request) -> bool:
        """Whether the caller has this view of it."""
        return conditional.matches(request, self.tag(request))


class Polls:
    """To be asked from one event loop; reads in the one thread of those who wait for news."""

    def __init__(
        self, sessions: Sessions, thread: ThreadPoolExecutor, *, lately: float = 1.0
    ) -> None:
        self._lately = lately
        self._looked: dict[Asked, float] = {}  # when what is kept was so, at least
        self._sessions = sessions
        self._thread = thread
        self._kept: OrderedDict[Asked, Seen] = OrderedDict()  # the least asked for come first
        self._turn = asyncio.Lock()
        self._asked: set[Asked] = set()  # of the read that waits for its turn
        self._next: asyncio.Task[Mapping[Asked, Seen]] | None = None

    async def job(self, project: ProjectId, job_id: JobId) -> Seen:
        """The project's job as it is at some moment after this call. Raises NotFound."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._read_next())
        key, now = (project, job_id), time.monotonic()
        self._asked.add(key)
        # Shared: who goes away takes nothing from the others.
        found = await asyncio.shield(self._next)
        if key not in found:
            raise jobs.unknown(job_id)
        if len(self._looked) > KEPT:
            self._looked.clear()
        self._looked[key] = now
        return found[key]

    async def lately(self, project: ProjectId, job_id: JobId) -> Seen:
        """The job as it was `lately` seconds ago at most, for open pages, which ask again in any
        case: many look at one job, and most of what they ask for has been read by another's
        question. Raises NotFound."""
        key, now = (project, job_id), time.monotonic()
        known = (
            self._kept.get(key) if now - self._looked.get(key, -math.inf) < self._lately else None
        )
        return known or await self.job(project, job_id)

    async def _read_next(self) -> Mapping[Asked, Seen]:
        async with self._turn:
            # Whoever comes from here on may know of something later than what is read now.
            asked, self._asked, self._next = self._asked, set(), None
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._thread, self._read, asked)

    def _read(self, asked: Collection[Asked]) -> Mapping[Asked, Seen]:
        ids: dict[ProjectId, list[JobId]] = defaultdict(list)
        for project, job_id in asked:
            ids[project].append(job_id)
        return {key: seen for each in ids.items() for key, seen in self._seen(*each)}

    def _seen(self, project: ProjectId, ids: Collection[JobId]) -> Iterator[tuple[Asked, Seen]]:
        with self._sessions.within(project).read() as session:
            versions = news.versions(session, ids)
            other = [
                each for each, version in versions.items() if self._is_news(project, each, version)
            ]
            found = jobs.several(session, other) if other else ()
            standing = fanout.children(session, found)
        for job in found:
            self._kept[project, job.id] = Seen.of(job, standing)
        for job_id in versions:
            if (key := (project, job_id)) in self._kept:  # or it was deleted between the two
                self._kept.move_to_end(key)
                yield key, self._kept[key]
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)

    def _is_news(self, project: ProjectId, job_id: JobId, version: str) -> bool:
        known = self._kept.get((project, job_id))
        return known is None or known.version != version
