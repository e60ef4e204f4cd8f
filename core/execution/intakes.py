"""The end of an intake: its objects are there when its row is, and what it has read goes."""

from collections.abc import Iterable
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from core.db.sessions import Sessions
from core.domain import keys
from core.domain.work import IngestOutcome
from core.errors import NotFound, Unavailable
from core.execution import deletion
from core.ports import ObjectStore
from core.services import uploads

log = structlog.stdlib.get_logger(__name__)


def check(store: ObjectStore, outcome: IngestOutcome) -> None:
    """For the transaction that registers the dataset. Raises DeletedMeanwhile, Unavailable."""
    deletion.check_stored(store, *deletion.of_images(outcome.sha256))


def drop_read(sessions: Sessions, store: ObjectStore, upload_ids: Iterable[UUID]) -> None:
    """Delete the objects of those uploads whose rows the transaction has deleted: others are yet
    to be read. What the store does not let go of now is the collector's."""
    try:
        for upload_id in upload_ids:
            with sessions.read() as session:
                if _is_kept(session, upload_id):
                    continue
            store.delete([each.key for each in store.listing(keys.upload(upload_id))])
    except Unavailable:
        log.warning("uploads_left", exc_info=True)


def _is_kept(session: Session, upload_id: UUID) -> bool:
    try:
        uploads.contents(session, upload_id)
    except NotFound:
        return False
    return True
