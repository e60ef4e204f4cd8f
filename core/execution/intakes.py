"""The end of an intake: its objects are there when its row is, and what it has read goes."""

from collections.abc import Iterable
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from core.config import UploadLimits
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import ProjectId
from core.domain.jobs import Job
from core.domain.searches import IngestSpec
from core.domain.work import IngestOutcome
from core.errors import NotFound, Unavailable
from core.execution import deletion
from core.ports import ObjectStore
from core.services import uploads, wire

log = structlog.stdlib.get_logger(__name__)


def check(
    session: Session, store: ObjectStore, job: Job, outcome: IngestOutcome, limits: UploadLimits
) -> None:
    """For the transaction that registers the dataset. Raises DeletedMeanwhile, Unavailable, and
    TooLarge (`quota_exceeded`)."""
    uploads.hold_room(session)  # who is refused the same images may be taking them back
    spec: IngestSpec = wire.load(IngestSpec, job.spec)
    if not spec.uploads:  # they were counted; of other intakes several may have found one room
        uploads.check_room(session, 0, limits)
    deletion.check_stored(store, *deletion.of_images(job.project_id, outcome.sha256))


def drop_read(
    sessions: Sessions, store: ObjectStore, project: ProjectId, upload_ids: Iterable[UUID]
) -> None:
    """Delete the objects of those uploads whose rows the transaction has deleted: others are yet
    to be read. What the store does not let go of now is the collector's."""
    try:
        for upload_id in upload_ids:
            with sessions.read() as session:
                if _is_kept(session, upload_id):
                    continue
            folder = keys.upload(project, upload_id)
            store.delete([each.key for each in store.listing(folder)])
    except Unavailable:
        log.warning("uploads_left", exc_info=True)


def _is_kept(session: Session, upload_id: UUID) -> bool:
    try:
        uploads.contents(session, upload_id)
    except NotFound:
        return False
    return True
