"""A Prefect 3 flow that searches an architecture; it needs HEADSTART_URL and HEADSTART_KEY."""

from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.runtime import flow_run

import headstart
from headstart.schema import SearchOptions

SEARCH: SearchOptions = {"training": {"epochs": 20, "seed": 0}}


@task(retries=3, retry_delay_seconds=10)
def submit(dataset: str, run: str) -> str:
    """Ask for one search in a run of the flow, however often this task is tried."""
    with headstart.Client() as client:
        at = client.datasets.id_of(dataset)
        return client.searches.create(at, **SEARCH, idempotency_key=f"{at}:{run}").id


@task
def fetch(search: str, folder: Path) -> list[Path]:
    """The model's files, when the search has ended; raises JobFailed or JobCancelled."""
    with headstart.Client() as client:
        return client.searches.open(search).download(folder)


@flow
def search_architecture(dataset: str, folder: Path) -> Any:
    """A run that is resumed goes on with its search."""
    return fetch(submit(dataset, str(flow_run.id)), folder)


if __name__ == "__main__":
    search_architecture("digits", Path("model"))
