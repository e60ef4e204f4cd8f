"""A client that submits over HTTP, asks again as it was told, and writes down every answer."""

import contextlib
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from uuid import UUID

import httpx

from core.domain.jobs import JobId
from tests.chaos.cluster import Cluster, clustered
from tests.chaos.player import Play
from tests.chaos.processes import Servers
from tests.chaos.proxy import Way, proxied
from tests.chaos.report import Row, judge

SIZE = (2, 100)
PATIENCE_SECONDS = 60.0
AGAIN_SECONDS = 0.25  # sooner than it is told to, as clients are
PER_KEY, AT_ONCE = 10, 20
ANSWER_BYTES = 400  # of about 700


@dataclass
class Client:
    """One of many."""

    cluster: Cluster
    url: str
    keyed: bool = True
    refused: int = 0
    complaints: list[str] = field(default_factory=list)
    http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=30, trust_env=False))

    def submit(self, kind: str = "count", size: tuple[int, int] = SIZE) -> JobId | None:
        """A new job, asked for until it is taken."""
        play = self.cluster.next_play(kind, *size)
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            answer = self.ask(play)
            if answer is not None:
                return self._told(answer, play)
            time.sleep(AGAIN_SECONDS)
        self.complaints.append(f"{play.name} was not taken within {PATIENCE_SECONDS:g} s")
        return None

    def ask(self, play: Play) -> httpx.Response | None:
        """The answer, or None where to ask again is all there is to do."""
        path = f"{self.url}/v1/datasets/{self.cluster.dataset}:embed"
        try:
            key = {"Idempotency-Key": play.name} if self.keyed else {}
            answer = self.http.post(path, json={"embedder": play.name}, headers=key)
        except httpx.TransportError as error:
            self.complaints.append(f"no answer: {error!r}")
            return None
        if answer.status_code in (409, 503) and "retry-after" in answer.headers:
            self.refused += 1
            return None
        return answer

    def _told(self, answer: httpx.Response, play: Play) -> JobId | None:
        if answer.status_code != httpx.codes.ACCEPTED:
            self.complaints.append(f"answered {answer.status_code}: {answer.text[:200]}")
            return None
        job_id = JobId(UUID(answer.json()["id"]))
        self.cluster.accepted.append(job_id)
        self.cluster.played[job_id] = play
        return job_id


def idempotency(servers: Servers, runs: int, seed: int) -> Row:
    """Every request made ten times under one key, by twenty at once, to two API processes.

    A third goes first through a proxy that cuts the answer off, and is made again. There is one
    job to a key, and all who heard of it heard of the same. A run is a request; the worst seconds
    are those until it was answered.
    """
    dice = random.Random(seed)
    with clustered(servers) as cluster, contextlib.ExitStack() as stack:
        urls = [cluster.api()[1], cluster.api()[1]]
        cutting = stack.enter_context(proxied(("127.0.0.1", int(urls[0].rsplit(":", 1)[1]))))
        cutting.cut_after(Way.RECEIVED, ANSWER_BYTES)
        through = f"http://127.0.0.1:{cutting.port}"
        plays = [cluster.next_play("count", *SIZE) for _ in range(max(1, runs // PER_KEY))]
        asked = [(play, dice.choice([*urls, through])) for play in plays for _ in range(PER_KEY)]
        dice.shuffle(asked)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda each: _insist(cluster, *each, urls[1]), asked))
        heard = {play.name: {id_ for each, id_, _ in answers if each is play} for play in plays}
        for play in plays:
            for id_ in heard[play.name]:
                cluster.accepted.append(JobId(UUID(id_)))
                cluster.played[cluster.accepted[-1]] = play
        cluster.worker(slots=2)
        cluster.settle()
        fault = f"{len(asked)} submissions under {len(plays)} keys, {AT_ONCE} at once"
        complaints = [f"{name}: {ids}" for name, ids in heard.items() if len(ids) != 1]
        complaints += [] if cutting.cuts else ["no answer was cut off"]
        worst = max(seconds for _, _, seconds in answers)
        return judge(cluster, fault, runs=len(asked), worst=worst, complaints=complaints)


def _insist(cluster: Cluster, play: Play, url: str, other: str) -> tuple[Play, str, float]:
    """Ask until there is an answer, elsewhere if the first was cut off; the job's id, or words."""
    begun, client = time.monotonic(), Client(cluster, url)
    with client.http:
        while (answer := client.ask(play)) is None and time.monotonic() < begun + PATIENCE_SECONDS:
            client.url = client.url if client.refused else other
            time.sleep(AGAIN_SECONDS)
    told = answer is not None and answer.status_code == httpx.codes.ACCEPTED
    said = answer.json()["id"] if answer is not None and told else repr(answer)
    return play, said, time.monotonic() - begun
