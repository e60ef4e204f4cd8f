"""Archives, one or several, become a dataset's stored objects; the caller writes the row last.

Objects are keyed by content, so a crash between the two leaves bytes that nothing points to and
that the same upload, tried again, finds in place.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from core.config import UploadLimits
from core.data import intake
from core.data.prepared import Prepared
from core.data.sandbox import OnProgress
from core.domain import keys
from core.domain.datasets import AS_USUAL, IntakeOptions
from core.domain.identity import ProjectId
from core.domain.work import IngestOutcome
from core.pipelines import objects
from core.ports import Heard, ObjectStore, unheard

REFUSAL = "refusal"  # the stage of the records that say what was wrong with a refused upload


def ingest(
    archives: Path | Sequence[Path],
    *,
    folder: Path,
    project: ProjectId,
    store: ObjectStore,
    limits: UploadLimits,
    options: IntakeOptions = AS_USUAL,
    on_progress: OnProgress | None = None,
    heard: Heard = unheard,
) -> Prepared:
    """Validate, prepare in `folder`, and store for the project; `heard` is told of the bytes that
    are stored.

    Raises as `core.data.intake.prepare` does.
    """
    prepared = intake.prepare(archives, folder, limits, options, on_progress=on_progress)
    originals = keys.originals(project, prepared.sha256)
    known = store.exists(originals)
    store.put(originals, prepared.originals, heard=heard)
    packed = keys.packed(project, prepared.sha256, prepared.resolution)
    store.put(packed, prepared.packed, heard=heard)
    if not known:
        return prepared
    # The same images from another archive are another file: the checksum is of the one that stays.
    return replace(
        prepared, originals_sha256=objects.stored_checksum(store, originals, heard=heard)
    )


def outcome_of(prepared: Prepared) -> IngestOutcome:
    """What is to be registered of it."""
    return IngestOutcome(
        sha256=prepared.sha256,
        classes=prepared.classes,
        train_counts=prepared.train_counts,
        test_counts=prepared.test_counts,
        channels=prepared.channels,
        report=prepared.report,
        originals_sha256=prepared.originals_sha256,
        size_bytes=prepared.size_bytes,
    )
