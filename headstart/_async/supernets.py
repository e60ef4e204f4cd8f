"""Supernets: what a search can start from."""

from collections.abc import AsyncIterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import bars, operations
from headstart._async import files
from headstart._async.connection import AsyncConnection, address
from headstart._async.datasets import AsyncDatasets
from headstart._async.jobs import AsyncJob, AsyncJobs
from headstart.bars import OnBytes
from headstart.schema import PretrainEachOptions, PretrainOptions, SupernetsListQuery, SupernetView


class AsyncSupernets:
    """`client.supernets`."""

    def __init__(
        self, connection: AsyncConnection, jobs: AsyncJobs, datasets: AsyncDatasets
    ) -> None:
        self._at = connection
        self._jobs = jobs
        self._datasets = datasets

    async def create(
        self,
        dataset: str,
        *,
        name: str,
        idempotency_key: str | None = None,
        **options: Unpack[PretrainOptions],
    ) -> AsyncJob:
        """Train a supernet on a dataset; its job's `result.supernet_id` names it."""
        body = {**options, "dataset_id": await self._datasets.id_of(dataset), "name": name}
        job = await self._at.json(
            operations.SUPERNETS_CREATE, json=body, idempotency_key=idempotency_key
        )
        return AsyncJob(job, self._jobs)

    async def pretrain(
        self,
        datasets: Sequence[str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[PretrainEachOptions],
    ) -> AsyncJob:
        """Train a supernet on each of several datasets, in one job of many."""
        ids = [await self._datasets.id_of(each) for each in datasets]
        job = await self._at.json(
            operations.SUPERNETS_PRETRAIN,
            json={**options, "dataset_ids": ids},
            idempotency_key=idempotency_key,
        )
        return AsyncJob(job, self._jobs)

    async def get(self, supernet_id: str) -> SupernetView:
        """A supernet, and what it was trained on."""
        found: SupernetView = await self._at.json(
            operations.SUPERNETS_GET, ids={"supernet_id": supernet_id}
        )
        return found

    def list(self, **query: Unpack[SupernetsListQuery]) -> AsyncIterator[SupernetView]:
        """Supernets, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.SUPERNETS_LIST, query)

    async def export(
        self, supernet_id: str, file: str | PathLike[str], *, progress: OnBytes = None
    ) -> Path:
        """Write a supernet to a file that any Headstart can import; that file."""
        path = address(operations.SUPERNETS_BUNDLE, supernet_id=supernet_id)
        with bars.transferring(progress, "downloading") as told:
            await files.download(self._at, path, Path(file), told=told)
        return Path(file)

    async def add(self, file: str | PathLike[str], *, progress: OnBytes = None) -> SupernetView:
        """Register the supernet in a file; the same file is the same supernet."""
        with bars.transferring(progress, "uploading") as told:
            made: SupernetView = await files.upload(
                self._at, operations.SUPERNETS_IMPORT, Path(file), told=told, query={}
            )
        return made
