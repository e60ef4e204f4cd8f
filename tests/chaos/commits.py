"""The connection to PostgreSQL ends after a COMMIT was sent and before its answer is heard.

Whoever sent it cannot know that it happened. It did: the proxy lets the server answer first.
"""

import contextlib
import time
from collections.abc import Mapping

from sqlalchemy import make_url

from core.domain.jobs import JobId
from tests.chaos.client import Client
from tests.chaos.cluster import QUICK, Cluster, clustered
from tests.chaos.processes import Servers
from tests.chaos.proxy import Proxy, proxied
from tests.chaos.report import Row, judge

# What is written in that transaction alone, and how often the job is claimed in the end: a claim
# that nobody knows of runs out.
MOMENTS: Mapping[str, tuple[bytes, int]] = {
    "submit": (b"submitted", 1),
    "claim": (b"claimed", 2),
    "finish": (b"succeeded", 1),
}


def commits(servers: Servers, runs: int, seed: int, *, keyed: bool = True) -> Row:
    """By turns of a submission, a claim and a success: one job, computed once, to a request.

    The worst seconds are those until the job has ended. Without `keyed` the client asks again
    without an Idempotency-Key.
    """
    worst, complaints = 0.0, list[str]()
    with clustered(servers, QUICK) as cluster, contextlib.ExitStack() as stack:
        database = make_url(cluster.settings.database)
        target = (database.host or "", database.port or 0)
        proxies = {name: stack.enter_context(proxied(target)) for name in ("api", "worker")}
        told = {
            name: {"HEADSTART_DATABASE_URL": _through(cluster, proxy)}
            for name, proxy in proxies.items()
        }
        cluster.worker(slots=2, **told["worker"])
        client = Client(cluster, cluster.api(**told["api"])[1], keyed=keyed)
        stack.enter_context(client.http)
        for number in range(runs):
            moment = list(MOMENTS)[number % len(MOMENTS)]
            proxy, begun = proxies["api" if moment == "submit" else "worker"], time.monotonic()
            cuts = proxy.cuts
            proxy.cut_at(b"COMMIT", after=MOMENTS[moment][0], once=True)
            job_id = client.submit()
            if job_id is not None:
                cluster.wait_for(job_id)
                complaints += _twice(cluster, client, job_id, moment)
            worst = max(worst, time.monotonic() - begun)
            if proxy.cuts != cuts + 1:
                complaints.append(f"{moment}: {proxy.cuts - cuts} connections were cut")
        return judge(
            cluster,
            "the answer to a COMMIT is cut off: submit, claim, finish",
            runs=runs,
            worst=worst,
            complaints=[*client.complaints, *complaints],
        )


def _through(cluster: Cluster, proxy: Proxy) -> str:
    url = make_url(cluster.settings.database).set(host="127.0.0.1", port=proxy.port)
    return url.render_as_string(hide_password=False)


def _twice(cluster: Cluster, client: Client, job_id: JobId, moment: str) -> list[str]:
    """What was done again, or is another job when it is asked for again."""
    found, claims = [], MOMENTS[moment][1]
    job, play = cluster.job(job_id), cluster.played[job_id]
    if job.fence != claims:
        found.append(f"{moment}: {job_id} was claimed {job.fence} times, not {claims}")
    if len(cluster.begun(job_id)) != 1:
        found.append(f"{moment}: {job_id} was computed {len(cluster.begun(job_id))} times")
    answer = client.ask(play) if client.keyed else None
    if answer is not None and answer.json()["id"] != str(job_id):
        found.append(f"{moment}: {play.name} is another job when it is asked for again")
    return found
