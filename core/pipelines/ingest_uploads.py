"""The intake job: uploads become a dataset's stored objects, or a list of what to mend."""

import time
from dataclasses import asdict
from pathlib import Path

from core.data.prepared import Prepared
from core.domain import keys
from core.domain.jobs import JobRecord, Progress
from core.domain.work import IngestInputs, IngestOutcome
from core.errors import AppError
from core.pipelines import assembling, objects
from core.pipelines.context import Context
from core.pipelines.ingest_dataset import REFUSAL, ingest, outcome_of

AT_ONCE = 100  # findings of a record
# Shares of the whole: what was uploaded is gathered, then checked and prepared, then stored.
_GATHERED, _PREPARED = 0.1, 0.95
_TELLING = 0.02  # what is done of it before an ETA means anything


def run(inputs: IngestInputs, context: Context) -> IngestOutcome:
    """The intake job. What is wrong with a refused upload, all of it, is in `refusal` records."""
    course = _Course(context)
    try:
        prepared = _ingested(inputs, context, course)
    except AppError as error:
        for number, start in enumerate(range(0, len(error.details), AT_ONCE)):
            found = [asdict(each) for each in error.details[start : start + AT_ONCE]]
            course.report(REFUSAL, JobRecord(REFUSAL, number, {"findings": found}))
        raise
    return outcome_of(prepared)


def _ingested(inputs: IngestInputs, context: Context, course: "_Course") -> Prepared:
    course.report("gather")
    paths, limits = _gathered(inputs, context, course), context.upload_limits
    if inputs.parent is not None:  # what was taken once is not too large
        size = paths[0].stat().st_size
        names = "archive_bytes", "expanded_bytes"
        roomy = {name: max(getattr(limits, name), size) for name in names}
        limits = limits.model_copy(update=roomy)

    def on_progress(progress: Progress) -> None:
        # The last of the writing is the first of the storing.
        stage = "store" if progress.fraction == 1 else progress.stage
        span = _PREPARED - _GATHERED
        course.report(stage, done=_GATHERED + span * progress.fraction)

    return ingest(
        paths,
        folder=context.scratch / "prepared",
        project=context.project,
        store=context.store,
        limits=limits,
        options=inputs.spec.options,
        on_progress=on_progress,
        heard=lambda _: context.alive(),
    )


def _gathered(inputs: IngestInputs, context: Context, course: "_Course") -> list[Path]:
    """What is to be read, as files."""
    if (parent := inputs.parent) is not None:
        key = keys.originals(parent.project_id, parent.sha256)
        path = context.scratch / "originals.parquet"
        return [objects.fetch(context.store, key, path, sha256=parent.originals_sha256)]
    total, read = sum(upload.length for upload, _ in inputs.uploads), 0

    def heard(size: int) -> None:
        nonlocal read
        read += size
        course.report("gather", done=_GATHERED * read / total)

    return [
        assembling.assemble(
            context.store, upload, parts, context.scratch / f"upload-{number}", heard=heard
        )
        for number, (upload, parts) in enumerate(inputs.uploads)
    ]


class _Course:
    """How far the job is, and how long it will take if it goes on so."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._began = time.monotonic()
        self._done = 0.0

    def report(
        self, stage: str, record: JobRecord | None = None, *, done: float | None = None
    ) -> None:
        """Say so. Raises Stopped."""
        self._done = self._done if done is None else done
        eta = None
        if self._done >= _TELLING:
            eta = (time.monotonic() - self._began) * (1 - self._done) / self._done
        self._context.report(Progress(stage, self._done, eta), record)
