"""Prunings: known networks made smaller for a dataset, waited for, and their files."""

import builtins
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import operations
from headstart._sync import artifacts as stored
from headstart._sync.asked import Asked
from headstart._sync.connection import Connection
from headstart._sync.datasets import Datasets
from headstart._sync.jobs import Jobs
from headstart.bars import OnBytes, OnJob
from headstart.schema import (
    JobView,
    PruningOptions,
    PruningsListQuery,
    PruningView,
    SubmittedPruningView,
)


class Prunings:
    """`client.prunings`."""

    def __init__(self, connection: Connection, jobs: Jobs, datasets: Datasets) -> None:
        self._at = connection
        self.jobs = jobs
        self._datasets = datasets

    def create(
        self,
        dataset: str,
        *,
        source: str | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[PruningOptions],
    ) -> "Pruning":
        """Prune a known network for a dataset: its id, the start of its id, or its name. What
        can go is learned on `source`, another dataset, if that is given; `weights` are an upload
        (`client.uploads.send`)."""
        other = {} if source is None else {"source_id": self._datasets.id_of(source)}
        body = {**options, **other, "dataset_id": self._datasets.id_of(dataset)}
        made: SubmittedPruningView = self._at.json(
            operations.PRUNINGS_CREATE, json=body, idempotency_key=idempotency_key
        )
        return Pruning(made["id"], made["job"], self)

    def get(self, pruning_id: str) -> PruningView:
        """A pruning: what was asked; its mask, figures and files as soon as there are any."""
        found: PruningView = self._at.json(operations.PRUNINGS_GET, ids={"pruning_id": pruning_id})
        return found

    def open(self, pruning_id: str) -> "Pruning":
        """A pruning that was asked for earlier, to be waited for."""
        found = self.get(pruning_id)
        return Pruning(pruning_id, self.jobs.get(found["job_id"]), self)

    def list(self, **query: Unpack[PruningsListQuery]) -> Iterator[PruningView]:
        """Prunings, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.PRUNINGS_LIST, query)

    def download(
        self,
        pruning_id: str,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> builtins.list[Path]:
        """Fetch a pruning's files, all or those of these names, into a folder; where they are."""
        return stored.download(
            self._at,
            operations.PRUNINGS_DOWNLOAD,
            {"pruning_id": pruning_id},
            (self.get(pruning_id))["artifacts"],
            folder,
            named=artifacts,
            progress=progress,
        )


class Pruning(Asked):
    """A pruning that was asked for; `job` is its job as it was last heard of."""

    def __init__(self, id: str, job: JobView, prunings: Prunings) -> None:
        super().__init__(id, job, prunings.jobs)
        self._prunings = prunings

    def wait(self, *, timeout: float | None = None, progress: OnJob = None) -> PruningView:
        """The pruning, once it has ended: through restarts of the server.

        `progress` hears of the job whenever it changed; True shows a bar. Raises JobFailed,
        JobCancelled, and Timeout after `timeout` seconds, when the pruning goes on.
        """
        self._end(timeout, progress)
        return self._prunings.get(self.id)

    def download(
        self,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> list[Path]:
        """The files, once the pruning has ended; all, or those of these names."""
        self.wait()
        return self._prunings.download(self.id, folder, artifacts=artifacts, progress=progress)
