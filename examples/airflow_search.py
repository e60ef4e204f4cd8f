"""An Airflow 3 DAG that searches an architecture; its workers need HEADSTART_URL and _KEY."""

from airflow.sdk import dag, task

import headstart
from headstart.schema import SearchOptions

SEARCH: SearchOptions = {"training": {"epochs": 20, "seed": 0}}


@task(retries=3)
def submit(dataset: str, run_id: str | None = None) -> dict[str, str]:
    """Ask for one search in a run of the DAG, however often this task is tried."""
    with headstart.Client() as client:
        at = client.datasets.id_of(dataset)
        made = client.searches.create(at, **SEARCH, idempotency_key=f"{at}:{run_id}")
    return {"search": made.id, "job": made.job["id"]}


@task.sensor(mode="reschedule", poke_interval=30, timeout=24 * 3600)
def ended(asked: dict[str, str]) -> bool:
    """One look, which holds no slot; raises JobFailed or JobCancelled."""
    with headstart.Client() as client:
        job = client.jobs.get(asked["job"])
        return job["poll_after_ms"] is None and bool(client.jobs.wait(job["id"]))


@task(retries=3)
def fetch(asked: dict[str, str], folder: str) -> list[str]:
    with headstart.Client() as client:
        return [str(each) for each in client.searches.open(asked["search"]).download(folder)]


@dag(schedule=None)
def headstart_search(dataset: str = "digits", folder: str = "model") -> None:
    asked = submit(dataset)
    ended(asked) >> fetch(asked, folder)


headstart_search()
