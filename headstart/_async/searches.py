"""Searches: asked for, waited for, and the model that comes of them."""

from collections.abc import AsyncIterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import operations
from headstart._async.asked import AsyncAsked
from headstart._async.connection import AsyncConnection
from headstart._async.datasets import AsyncDatasets
from headstart._async.jobs import AsyncJobs
from headstart._async.models import AsyncModels
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


class AsyncSearches:
    """`client.searches`."""

    def __init__(
        self,
        connection: AsyncConnection,
        jobs: AsyncJobs,
        datasets: AsyncDatasets,
        models: AsyncModels,
    ) -> None:
        self._at = connection
        self.jobs = jobs
        self.models = models
        self._datasets = datasets

    async def create(
        self, dataset: str, *, idempotency_key: str | None = None, **options: Unpack[SearchOptions]
    ) -> "AsyncSearch":
        """Search an architecture for a dataset: its id, the start of its id, or its name. Asked
        for again under the same `idempotency_key`, it is the same search."""
        body = {**options, "dataset_id": await self._datasets.id_of(dataset)}
        made: SubmittedSearchView = await self._at.json(
            operations.SEARCHES_CREATE, json=body, idempotency_key=idempotency_key
        )
        return AsyncSearch(made["id"], made["job"], self)

    async def estimate(self, dataset: str, **options: Unpack[SearchOptions]) -> EstimateView:
        """What such a search would take, and what it would try; nothing is queued."""
        body = {**options, "dataset_id": await self._datasets.id_of(dataset)}
        found: EstimateView = await self._at.json(operations.SEARCHES_ESTIMATE, json=body)
        return found

    async def clone(
        self,
        search_id: str,
        *,
        dataset: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[CloneOptions],
    ) -> "AsyncSearch":
        """The same search once more, but for the options that are given, or on another dataset."""
        other = {} if dataset is None else {"dataset_id": await self._datasets.id_of(dataset)}
        made: SubmittedSearchView = await self._at.json(
            operations.SEARCHES_CLONE,
            ids={"search_id": search_id},
            json={**options, **other},
            idempotency_key=idempotency_key,
        )
        return AsyncSearch(made["id"], made["job"], self)

    async def replay(
        self, *, idempotency_key: str | None = None, **body: Unpack[ReplayBody]
    ) -> "AsyncSearch":
        """The search that a model's `config` tells of, to the same end."""
        made: SubmittedSearchView = await self._at.json(
            operations.SEARCHES_REPLAY, json=body, idempotency_key=idempotency_key
        )
        return AsyncSearch(made["id"], made["job"], self)

    async def get(self, search_id: str) -> SearchView:
        """A search: its ranking and start as soon as they are known, at last its model's id."""
        found: SearchView = await self._at.json(
            operations.SEARCHES_GET, ids={"search_id": search_id}
        )
        return found

    async def open(self, search_id: str) -> "AsyncSearch":
        """A search that was asked for earlier, to be waited for."""
        found = await self.get(search_id)
        return AsyncSearch(search_id, await self.jobs.get(found["job_id"]), self)

    def list(self, **query: Unpack[SearchesListQuery]) -> AsyncIterator[SearchView]:
        """Searches, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.SEARCHES_LIST, query)


class AsyncSearch(AsyncAsked):
    """A search that was asked for; `job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, searches: AsyncSearches) -> None:
        super().__init__(id, job, searches.jobs)
        self._searches = searches

    async def wait(self, *, timeout: float | None = None, progress: OnJob = None) -> SearchView:
        """The search, once it has ended: through restarts of the server.

        `progress` hears of the job whenever it changed; True shows a bar. Raises JobFailed,
        JobCancelled, and Timeout after `timeout` seconds, when the search goes on.
        """
        await self._end(timeout, progress)
        return await self._searches.get(self.id)

    async def result(self, *, timeout: float | None = None, progress: OnJob = None) -> ModelView:
        """The model that came of it, once it has ended. Raises as `wait` does."""
        found = await self.wait(timeout=timeout, progress=progress)
        if found["model_id"] is None:
            raise Problem(f"Search {self.id} has no model.", code="no_model")
        return await self._searches.models.get(found["model_id"])

    async def download(
        self,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> list[Path]:
        """The files of the model, once the search has ended; all, or those of these names."""
        model = await self.result()
        return await self._searches.models.download(
            model["id"], folder, artifacts=artifacts, progress=progress
        )
