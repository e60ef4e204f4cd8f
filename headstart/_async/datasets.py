"""Datasets: uploaded, found, compared, exported, deleted."""

import builtins
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, suppress
from os import PathLike
from pathlib import Path
from typing import Any, Literal, Unpack
from uuid import UUID

from headstart import bars, folders, operations
from headstart._async import files, running
from headstart._async.connection import AsyncConnection, address
from headstart._async.jobs import AsyncJob, AsyncJobs
from headstart.bars import OnBytes
from headstart.problems import Invalid, NotFound, Problem
from headstart.schema import (
    DatasetsListQuery,
    DatasetView,
    DifferenceView,
    EmbedderBody,
    FullDatasetView,
    ImageBody,
    IngestOptions,
    LeaveOutBody,
    MapView,
    RankBody,
    RankingView,
    ReportView,
    VersionView,
    WholeNeighbourView,
)

Images = str | PathLike[str]
SHORTEST = 4  # characters by which an id may be called


class AsyncDatasets:
    """`client.datasets`. A dataset is meant by its id, by the start of its id, or by its name."""

    def __init__(self, connection: AsyncConnection, jobs: AsyncJobs) -> None:
        self._at = connection
        self._jobs = jobs

    async def upload(
        self,
        images: Images | Sequence[Images],
        *,
        name: str | None = None,
        progress: OnBytes = None,
        **options: Unpack[IngestOptions],
    ) -> FullDatasetView:
        """Make a dataset of an archive or a folder of images, or of several that are one dataset.

        Goes on where it was when the connection breaks. `progress` hears of bytes; True shows
        bars. Raises JobFailed, whose `errors` list all that is wrong with the images.
        """
        job = await self.send(images, name=name, progress=progress, **options)
        done = await job.wait(progress=progress is True)
        return await self.get((done["result"] or {})["dataset_id"])

    async def send(
        self,
        images: Images | Sequence[Images],
        *,
        name: str | None = None,
        uploads: Sequence[str] = (),
        progress: OnBytes = None,
        **options: Unpack[IngestOptions],
    ) -> AsyncJob:
        """As `upload`, without waiting for the job that reads the images; together with what is
        there already as `uploads`. Refused or broken off, it leaves nothing at the server."""
        several = [images] if isinstance(images, str | PathLike) else images
        paths = [Path(each) for each in several]
        there = list(uploads)
        if not (paths or (there and name)):
            detail = "Nothing to send: give an archive or a folder, or uploads and a name."
            raise Invalid(detail, code="invalid_input")
        called = name or folders.title(paths[0])
        with ExitStack() as stack:
            packing = [folders.as_archive(each) for each in paths]
            archives = [await running.run(stack.enter_context, each) for each in packing]
            told = stack.enter_context(bars.transferring(progress, "uploading"))
            total, before = sum(each.stat().st_size for each in archives), 0
            try:
                # One after the other: few may be under way at once, of all callers.
                for archive in archives:
                    part = bars.part_of(told, before, total)
                    there.append(await files.send(self._at, archive, told=part))
                    before += archive.stat().st_size
                return await self.ingest(there, name=called, **options)
            except BaseException:
                for each in there:
                    await files.give_up(self._at, each)  # unless a job has it after all
                raise

    async def ingest(
        self,
        uploads: Sequence[str],
        *,
        name: str,
        idempotency_key: str | None = None,
        **options: Unpack[IngestOptions],
    ) -> AsyncJob:
        """Make a dataset of what is at the server: uploads by their ids."""
        body = {**options, "uploads": [*uploads], "name": name}
        job = await self._at.json(
            operations.DATASETS_INGEST, json=body, idempotency_key=idempotency_key
        )
        return AsyncJob(job, self._jobs)

    async def register_statistics(
        self, file: Images, *, name: str, progress: OnBytes = None
    ) -> FullDatasetView:
        """Register a dataset by a file of class statistics, as `headstart statistics` writes it:
        its images stay with their owner."""
        with bars.transferring(progress, "uploading") as told:
            made: FullDatasetView = await files.upload(
                self._at,
                operations.DATASETS_REGISTER_STATISTICS,
                Path(file),
                told=told,
                query={"name": name},
            )
        return made

    async def get(self, dataset: str) -> FullDatasetView:
        """A dataset with its report."""
        found: FullDatasetView = await self._json(operations.DATASETS_GET, dataset)
        return found

    def list(self, **query: Unpack[DatasetsListQuery]) -> AsyncIterator[DatasetView]:
        """Datasets, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.DATASETS_LIST, query)

    async def find(self, wanted: str) -> DatasetView:
        """A dataset by its id, by its name, or by the start of its id. Raises NotFound, and
        Problem `ambiguous`."""
        with suppress(ValueError):
            return await self.get(str(UUID(wanted)))
        matches = [each async for each in self.list(name=wanted)]
        if not matches and len(wanted) >= SHORTEST:
            start = wanted.lower()
            matches = [each async for each in self.list() if each["id"].startswith(start)]
        if len(matches) == 1:
            return matches[0]
        if not matches:
            detail = f"There is no dataset called '{wanted}', nor one whose id starts so."
            raise NotFound(detail, code="not_found")
        named = ", ".join(f"{each['name']} ({each['id']})" for each in matches[:5])
        raise Problem(f"'{wanted}' could be any of {named}: use an id.", code="ambiguous")

    async def id_of(self, dataset: str) -> str:
        """The id of a dataset, which is looked up unless it is one already."""
        try:
            return str(UUID(dataset))
        except ValueError:
            return (await self.find(dataset))["id"]

    async def delete(self, dataset: str) -> bool:
        """Delete a dataset with its images; what was made of it stays. False where its files go
        only when the store answers again."""
        ids = {"dataset_id": await self.id_of(dataset)}
        answer = await self._at.call(operations.DATASETS_DELETE, ids=ids)
        return answer.status_code == 204

    async def embed(
        self, dataset: str, *, idempotency_key: str | None = None, **body: Unpack[EmbedderBody]
    ) -> AsyncJob:
        """Have a dataset embedded, so that rankings by that embedder find it."""
        job = await self._json(
            operations.DATASETS_EMBED, dataset, json=body, idempotency_key=idempotency_key
        )
        return AsyncJob(job, self._jobs)

    async def rank(
        self, dataset: str, *, idempotency_key: str | None = None, **body: Unpack[RankBody]
    ) -> AsyncJob:
        """Have all other datasets ranked by their distance to this one; then `neighbours`."""
        job = await self._json(
            operations.DATASETS_RANK, dataset, json=body, idempotency_key=idempotency_key
        )
        return AsyncJob(job, self._jobs)

    async def neighbours(
        self, dataset: str, *, k: int | None = None, supernets_only: bool | None = None
    ) -> RankingView:
        """The stored ranking, nearest first."""
        query = {"k": k, "supernets_only": supernets_only}
        found: RankingView = await self._json(operations.DATASETS_NEIGHBOURS, dataset, query=query)
        return found

    async def neighbour(self, dataset: str, source: str) -> WholeNeighbourView:
        """One neighbour whole: which classes are alike, and which images."""
        found: WholeNeighbourView = await self._json(
            operations.DATASETS_NEIGHBOUR, dataset, source_dataset_id=await self.id_of(source)
        )
        return found

    async def map(self, dataset: str) -> MapView:
        """A dataset among its neighbours, as points in the plane."""
        found: MapView = await self._json(operations.DATASETS_MAP, dataset)
        return found

    async def report(self, dataset: str) -> ReportView:
        """Every file that was left out or is worth a look, and what to do about it."""
        found: ReportView = await self._json(operations.DATASETS_REPORT, dataset)
        return found

    async def versions(self, dataset: str) -> builtins.list[VersionView]:
        """What a dataset came of and what came of it."""
        found: builtins.list[VersionView] = await self._json(operations.DATASETS_VERSIONS, dataset)
        return found

    async def diff(self, dataset: str, *, against: str) -> DifferenceView:
        """What changed from an earlier dataset to this one."""
        query = {"against": await self.id_of(against)}
        found: DifferenceView = await self._json(operations.DATASETS_DIFF, dataset, query=query)
        return found

    async def leave_out(
        self,
        dataset: str,
        images: Sequence[ImageBody],
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncJob:
        """Make the next version of a dataset, without these images; nothing of this one changes.
        The job's `result` names it."""
        body: LeaveOutBody = {"images": [*images], "name": name}
        job = await self._json(
            operations.DATASETS_LEAVE_OUT, dataset, json=body, idempotency_key=idempotency_key
        )
        return AsyncJob(job, self._jobs)

    async def export(
        self,
        dataset: str,
        file: Images,
        *,
        format: Literal["imagefolder", "parquet"] | None = None,
        progress: OnBytes = None,
    ) -> Path:
        """Write the images as they were uploaded to a file; that file."""
        path = address(operations.DATASETS_EXPORT, dataset_id=await self.id_of(dataset))
        with bars.transferring(progress, "downloading") as told:
            await files.download(self._at, path, Path(file), query={"format": format}, told=told)
        return Path(file)

    async def image(
        self, dataset: str, index: int, *, split: Literal["train", "test"] = "train"
    ) -> bytes:
        """One image as a PNG, by its place in its split from 0."""
        ids = {"dataset_id": await self.id_of(dataset), "index": index}
        query = {"split": split}
        return (await self._at.call(operations.DATASETS_IMAGE, ids=ids, query=query)).content

    async def examples(self, dataset: str, class_index: int) -> bytes:
        """Up to eight images of one class, as one PNG."""
        ids = {"dataset_id": await self.id_of(dataset), "class_index": class_index}
        return (await self._at.call(operations.DATASETS_CLASS_EXAMPLES, ids=ids)).content

    async def _json(self, operation: operations.Operation, dataset: str, **options: Any) -> Any:
        source = options.pop("source_dataset_id", None)
        ids = {"dataset_id": await self.id_of(dataset), "source_dataset_id": source}
        return await self._at.json(operation, ids=ids, **options)
