"""Supernets: what a search can start from."""

from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import bars, operations
from headstart._sync import files
from headstart._sync.connection import Connection, address
from headstart._sync.datasets import Datasets
from headstart._sync.jobs import Job, Jobs
from headstart.bars import OnBytes
from headstart.schema import PretrainEachOptions, PretrainOptions, SupernetsListQuery, SupernetView


class Supernets:
    """`client.supernets`."""

    def __init__(self, connection: Connection, jobs: Jobs, datasets: Datasets) -> None:
        self._at = connection
        self._jobs = jobs
        self._datasets = datasets

    def create(
        self,
        dataset: str,
        *,
        name: str,
        idempotency_key: str | None = None,
        **options: Unpack[PretrainOptions],
    ) -> Job:
        """Train a supernet on a dataset; its job's `result.supernet_id` names it."""
        body = {**options, "dataset_id": self._datasets.id_of(dataset), "name": name}
        job = self._at.json(
            operations.SUPERNETS_CREATE, json=body, idempotency_key=idempotency_key
        )
        return Job(job, self._jobs)

    def pretrain(
        self,
        datasets: Sequence[str],
        *,
        idempotency_key: str | None = None,
        **options: Unpack[PretrainEachOptions],
    ) -> Job:
        """Train a supernet on each of several datasets, in one job of many."""
        ids = [self._datasets.id_of(each) for each in datasets]
        job = self._at.json(
            operations.SUPERNETS_PRETRAIN,
            json={**options, "dataset_ids": ids},
            idempotency_key=idempotency_key,
        )
        return Job(job, self._jobs)

    def get(self, supernet_id: str) -> SupernetView:
        """A supernet, and what it was trained on."""
        found: SupernetView = self._at.json(
            operations.SUPERNETS_GET, ids={"supernet_id": supernet_id}
        )
        return found

    def list(self, **query: Unpack[SupernetsListQuery]) -> Iterator[SupernetView]:
        """Supernets, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.SUPERNETS_LIST, query)

    def export(
        self, supernet_id: str, file: str | PathLike[str], *, progress: OnBytes = None
    ) -> Path:
        """Write a supernet to a file that any Headstart can import; that file."""
        path = address(operations.SUPERNETS_BUNDLE, supernet_id=supernet_id)
        with bars.transferring(progress, "downloading") as told:
            files.download(self._at, path, Path(file), told=told)
        return Path(file)

    def add(self, file: str | PathLike[str], *, progress: OnBytes = None) -> SupernetView:
        """Register the supernet in a file; the same file is the same supernet."""
        with bars.transferring(progress, "uploading") as told:
            made: SupernetView = files.upload(
                self._at, operations.SUPERNETS_IMPORT, Path(file), told=told, query={}
            )
        return made
