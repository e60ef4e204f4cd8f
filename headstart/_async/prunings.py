"""Prunings: known networks made smaller for a dataset, waited for, and their files."""

import builtins
from collections.abc import AsyncIterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import operations
from headstart._async import artifacts as stored
from headstart._async.asked import AsyncAsked
from headstart._async.connection import AsyncConnection
from headstart._async.datasets import AsyncDatasets
from headstart._async.jobs import AsyncJobs
from headstart.bars import OnBytes, OnJob
from headstart.schema import (
    JobView,
    PruningOptions,
    PruningsListQuery,
    PruningView,
    SubmittedPruningView,
)


class AsyncPrunings:
    """`client.prunings`."""

    def __init__(
        self, connection: AsyncConnection, jobs: AsyncJobs, datasets: AsyncDatasets
    ) -> None:
        self._at = connection
        self.jobs = jobs
        self._datasets = datasets

    async def create(
        self,
        dataset: str,
        *,
        source: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[PruningOptions],
    ) -> "AsyncPruning":
        """Prune a known network for a dataset: its id, the start of its id, or its name. What
        can go is learned on `source`, another dataset, if that is given; `weights` are an upload
        (`client.uploads.send`)."""
        other = {} if source is None else {"source_id": await self._datasets.id_of(source)}
        body = {**options, **other, "dataset_id": await self._datasets.id_of(dataset)}
        made: SubmittedPruningView = await self._at.json(
            operations.PRUNINGS_CREATE, json=body, idempotency_key=idempotency_key
        )
        return AsyncPruning(made["id"], made["job"], self)

    async def get(self, pruning_id: str) -> PruningView:
        """A pruning: what was asked; its mask, figures and files as soon as there are any."""
        found: PruningView = await self._at.json(
            operations.PRUNINGS_GET, ids={"pruning_id": pruning_id}
        )
        return found

    async def open(self, pruning_id: str) -> "AsyncPruning":
        """A pruning that was asked for earlier, to be waited for."""
        found = await self.get(pruning_id)
        return AsyncPruning(pruning_id, await self.jobs.get(found["job_id"]), self)

    def list(self, **query: Unpack[PruningsListQuery]) -> AsyncIterator[PruningView]:
        """Prunings, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.PRUNINGS_LIST, query)

    async def download(
        self,
        pruning_id: str,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> builtins.list[Path]:
        """Fetch a pruning's files, all or those of these names, into a folder; where they are."""
        return await stored.download(
            self._at,
            operations.PRUNINGS_DOWNLOAD,
            {"pruning_id": pruning_id},
            (await self.get(pruning_id))["artifacts"],
            folder,
            named=artifacts,
            progress=progress,
        )


class AsyncPruning(AsyncAsked):
    """A pruning that was asked for; `job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, prunings: AsyncPrunings) -> None:
        super().__init__(id, job, prunings.jobs)
        self._prunings = prunings

    async def wait(self, *, timeout: float | None = None, progress: OnJob = None) -> PruningView:
        """The pruning, once it has ended: through restarts of the server.

        `progress` hears of the job whenever it changed; True shows a bar. Raises JobFailed,
        JobCancelled, and Timeout after `timeout` seconds, when the pruning goes on.
        """
        await self._end(timeout, progress)
        return await self._prunings.get(self.id)

    async def download(
        self,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> list[Path]:
        """The files, once the pruning has ended; all, or those of these names."""
        await self.wait()
        return await self._prunings.download(
            self.id, folder, artifacts=artifacts, progress=progress
        )
