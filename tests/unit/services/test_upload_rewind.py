"""Uploads that begin anew: what was stored of them is forgotten, and so is whoever was at it."""

from uuid import uuid4

from core.db.sessions import Sessions
from core.domain.uploads import UploadState
from core.errors import Conflict, Gone, NotFound
from core.services import uploads
from tests.unit.services.test_uploads import begun, code_of, part, sent, set_back


def test_an_upload_begins_anew(sessions: Sessions) -> None:
    """Its parts are the caller's to delete, and whoever was at it before adds nothing more."""
    made = begun(sessions)
    sent(sessions, made, 0, 4)
    sent(sessions, made, 4, 2)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=6, token="late")
        set_back(session, made, "busy_until")
    with sessions.begin() as session:
        parts = uploads.rewind(session, made.id)
    assert [each.start for each in parts] == [0, 4]
    with sessions.read() as session:
        assert (uploads.get(session, made.id).received, uploads.used_bytes(session)) == (0, 10)
        assert uploads.contents(session, made.id)[1] == ()
    with sessions.begin() as session:
        for start in (0, 6):
            late = part(made, start, 4, "late")
            assert code_of(
                Conflict, lambda late=late: uploads.append(session, made.id, "late", late)
            ) == "upload_busy"  # fmt: skip
    assert sent(sessions, made, 0, 10).state is UploadState.COMPLETE


def test_what_is_complete_held_or_over_does_not_begin_anew(sessions: Sessions) -> None:
    complete, held, over = (begun(sessions) for _ in range(3))
    sent(sessions, complete, 0, 10)
    sent(sessions, held, 0, 4)
    with sessions.begin() as session:
        uploads.take(session, held.id, offset=4, token="t")
        set_back(session, over, "expires_at")
    with sessions.begin() as session:
        for each, error, code in (
            (complete.id, Conflict, "upload_complete"),
            (held.id, Conflict, "upload_busy"),
            (over.id, Gone, "upload_expired"),
            (uuid4(), NotFound, "not_found"),
        ):
            assert code_of(error, lambda each=each: uploads.rewind(session, each)) == code
    with sessions.read() as session:
        assert uploads.get(session, held.id).received == 4
        assert len(uploads.contents(session, complete.id)[1]) == 1
