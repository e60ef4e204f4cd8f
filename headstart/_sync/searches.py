"""Searches: asked for, waited for, and the model that comes of them."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import operations
from headstart._sync.asked import Asked
from headstart._sync.connection import Connection
from headstart._sync.datasets import Datasets
from headstart._sync.jobs import Jobs
from headstart._sync.models import Models
from headstart.bars import OnBytes, OnJob
from headstart.problems import Problem
from headstart.schema import (
    CloneOptions,
    EstimateView,
    JobView,
    ModelView,
    ReplayBody,
    SearchesListQuery,
    SearchOptions,
    SearchView,
    SubmittedSearchView,
)


class Searches:
    """`client.searches`."""

    def __init__(
        self,
        connection: Connection,
        jobs: Jobs,
        datasets: Datasets,
        models: Models,
    ) -> None:
        self._at = connection
        self.jobs = jobs
        self.models = models
        self._datasets = datasets

    def create(
        self, dataset: str, *, idempotency_key: str | None = None, **options: Unpack[SearchOptions]
    ) -> "Search":
        """Search an architecture for a dataset: its id, the start of its id, or its name. Asked
        for again under the same `idempotency_key`, it is the same search."""
        body = {**options, "dataset_id": self._datasets.id_of(dataset)}
        made: SubmittedSearchView = self._at.json(
            operations.SEARCHES_CREATE, json=body, idempotency_key=idempotency_key
        )
        return Search(made["id"], made["job"], self)

    def estimate(self, dataset: str, **options: Unpack[SearchOptions]) -> EstimateView:
        """What such a search would take, and what it would try; nothing is queued."""
        body = {**options, "dataset_id": self._datasets.id_of(dataset)}
        found: EstimateView = self._at.json(operations.SEARCHES_ESTIMATE, json=body)
        return found

    def clone(
        self,
        search_id: str,
        *,
        dataset: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[CloneOptions],
    ) -> "Search":
        """The same search once more, but for the options that are given, or on another dataset."""
        other = {} if dataset is None else {"dataset_id": self._datasets.id_of(dataset)}
        made: SubmittedSearchView = self._at.json(
            operations.SEARCHES_CLONE,
            ids={"search_id": search_id},
            json={**options, **other},
            idempotency_key=idempotency_key,
        )
        return Search(made["id"], made["job"], self)

    def replay(
        self, *, idempotency_key: str | None = None, **body: Unpack[ReplayBody]
    ) -> "Search":
        """The search that a model's `config` tells of, to the same end."""
        made: SubmittedSearchView = self._at.json(
            operations.SEARCHES_REPLAY, json=body, idempotency_key=idempotency_key
        )
        return Search(made["id"], made["job"], self)

    def get(self, search_id: str) -> SearchView:
        """A search: its ranking and start as soon as they are known, at last its model's id."""
        found: SearchView = self._at.json(operations.SEARCHES_GET, ids={"search_id": search_id})
        return found

    def open(self, search_id: str) -> "Search":
        """A search that was asked for earlier, to be waited for."""
        found = self.get(search_id)
        return Search(search_id, self.jobs.get(found["job_id"]), self)

    def list(self, **query: Unpack[SearchesListQuery]) -> Iterator[SearchView]:
        """Searches, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.SEARCHES_LIST, query)


class Search(Asked):
    """A search that was asked for; `job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, searches: Searches) -> None:
        super().__init__(id, job, searches.jobs)
        self._searches = searches

    def wait(self, *, timeout: float | None = None, progress: OnJob = None) -> SearchView:
        """The search, once it has ended: through restarts of the server.

        `progress` hears of the job whenever it changed; True shows a bar. Raises JobFailed,
        JobCancelled, and Timeout after `timeout` seconds, when the search goes on.
        """
        self._end(timeout, progress)
        return self._searches.get(self.id)

    def result(self, *, timeout: float | None = None, progress: OnJob = None) -> ModelView:
        """The model that came of it, once it has ended. Raises as `wait` does."""
        found = self.wait(timeout=timeout, progress=progress)
        if found["model_id"] is None:
            raise Problem(f"Search {self.id} has no model.", code="no_model")
        return self._searches.models.get(found["model_id"])

    def download(
        self,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> list[Path]:
        """The files of the model, once the search has ended; all, or those of these names."""
        model = self.result()
        return self._searches.models.download(
            model["id"], folder, artifacts=artifacts, progress=progress
        )
