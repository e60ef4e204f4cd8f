"""Uploads in pieces, on both databases: places, holds, races, expiry, quotas."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.config import UploadLimits
from core.db.clock import now
from core.db.sessions import Sessions
from core.db.upload_tables import UploadPartRow, UploadRow
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.uploads import Part, Upload, UploadState
from core.errors import AppError, Conflict, Gone, InvalidInput, NotFound, TooLarge
from core.services import datasets, jobs, uploads
from tests.unit.services.samples import queued, running, sha256_of
from tests.unit.services.test_datasets import TERMS

T = TypeVar("T")

LIMITS = UploadLimits(archive_bytes=100, open_uploads=3, stored_bytes=250, expiry_seconds=60)
CROWD = 16


def begun(sessions: Sessions, **changes: Any) -> Upload:
    terms: dict[str, Any] = {"name": "a.zip", "length": 10, "sha256": None, "limits": LIMITS}
    with sessions.begin() as session:
        return uploads.create(session, **{**terms, **changes})


def part(of: Upload, start: int, size: int, token: str = "t") -> Part:
    return Part(
        keys.upload_part(DEFAULT, of.id, start, token), start, size, sha256_of(f"{start}{token}")
    )


def sent(sessions: Sessions, to: Upload, start: int, size: int, token: str = "t") -> Upload:
    with sessions.begin() as session:
        uploads.take(session, to.id, offset=start, token=token)
        after = uploads.append(session, to.id, token, part(to, start, size, token))
        uploads.release(session, to.id, token)
        return after


def set_back(session: Session, of: Upload, column: str) -> None:
    past = {column: now(-1.0)}
    session.execute(update(UploadRow).where(UploadRow.id == of.id).values(past))


def code_of(raised: type[AppError], act: Callable[[], object]) -> str:
    with pytest.raises(raised) as caught:
        act()
    return caught.value.stable_code


def together(work: Callable[[int], T], n: int = CROWD) -> list[T]:
    gate = threading.Barrier(n)

    def begin(i: int) -> T:
        gate.wait()
        return work(i)

    with ThreadPoolExecutor(n) as pool:
        return list(pool.map(begin, range(n)))


def test_an_upload_grows_part_by_part(sessions: Sessions) -> None:
    made = begun(sessions, name=" a.zip ", sha256=sha256_of("whole"))
    assert (made.name, made.received, made.state) == ("a.zip", 0, UploadState.OPEN)
    assert (made.expires_at - made.created_at).total_seconds() == pytest.approx(60, abs=5)
    assert sent(sessions, made, 0, 4).received == 4
    with sessions.read() as session:
        assert uploads.get(session, made.id).state is UploadState.OPEN
    whole = sent(sessions, made, 4, 6, "other")
    assert (whole.received, whole.state) == (10, UploadState.COMPLETE)
    with sessions.read() as session:
        assert uploads.get(session, made.id) == whole
        told = uploads.contents(session, made.id)
    assert told == (whole, (part(made, 0, 4), part(made, 4, 6, "other")))


def test_of_many_who_append_at_one_place_one_does(sessions: Sessions) -> None:
    made = begun(sessions, length=100)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="t")

    def append(i: int) -> str:
        try:
            with sessions.begin() as session:
                uploads.append(session, made.id, "t", part(made, 0, i + 1))
        except Conflict as error:
            return error.stable_code
        return str(i + 1)

    said = Counter(together(append))
    assert said.pop("wrong_offset") == CROWD - 1
    ((size, once),) = said.items()
    with sessions.read() as session:
        upload, parts = uploads.contents(session, made.id)
    assert (once, upload.received, [each.size for each in parts]) == (1, int(size), [int(size)])


def test_of_many_who_take_it_one_may_append(sessions: Sessions) -> None:
    made = begun(sessions, length=100)

    def send(i: int) -> str:
        token = f"t{i}"
        try:
            with sessions.begin() as session:
                uploads.take(session, made.id, offset=0, token=token)
            with sessions.begin() as session:
                uploads.append(session, made.id, token, part(made, 0, i + 1, token))
        except Conflict as error:
            return error.stable_code
        return str(i + 1)

    said = Counter(together(send))
    assert said.pop("upload_busy") == CROWD - 1
    (size,) = said
    with sessions.read() as session:
        assert uploads.get(session, made.id).received == int(size)


def test_a_place_is_taken_by_one_at_a_time(sessions: Sessions) -> None:
    made = begun(sessions)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="a")
        uploads.take(session, made.id, offset=0, token="a")  # again is longer

        def take(offset: int, token: str = "b") -> str:
            return code_of(
                Conflict, lambda: uploads.take(session, made.id, offset=offset, token=token)
            )

        assert take(0) == "upload_busy"
        assert take(3, "a") == "wrong_offset"
        uploads.release(session, made.id, "b")
        assert take(0) == "upload_busy"
        uploads.release(session, made.id, "a")
        for offset in (-1, 3, 10**30):
            assert take(offset) == "wrong_offset"
        uploads.take(session, made.id, offset=0, token="b")
        for token in ("", "a b", "x" * 33, "../x"):
            with pytest.raises(ValueError, match="token"):
                uploads.take(session, made.id, offset=0, token=token)


def test_who_lost_its_hold_changes_nothing(sessions: Sessions) -> None:
    made = begun(sessions)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="slow")
        set_back(session, made, "busy_until")
        uploads.take(session, made.id, offset=0, token="b")

        def late() -> Upload:
            return uploads.append(session, made.id, "slow", part(made, 0, 4, "slow"))

        assert code_of(Conflict, late) == "upload_busy"
        uploads.append(session, made.id, "b", part(made, 0, 3, "b"))
        assert code_of(Conflict, late) == "upload_busy"
    with sessions.read() as session:
        assert uploads.contents(session, made.id)[1] == (part(made, 0, 3, "b"),)


def test_a_lapsed_hold_that_nobody_took_still_counts(sessions: Sessions) -> None:
    made = begun(sessions)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="a")
        set_back(session, made, "busy_until")
        assert uploads.append(session, made.id, "a", part(made, 0, 4, "a")).received == 4
        # The part renewed it.
        again = code_of(Conflict, lambda: uploads.take(session, made.id, offset=4, token="b"))
        assert again == "upload_busy"


def test_no_more_comes_than_was_said(sessions: Sessions) -> None:
    made = begun(sessions)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="t")
        over = code_of(TooLarge, lambda: uploads.append(session, made.id, "t", part(made, 0, 11)))
        assert over == "archive_too_large"
        with pytest.raises(ValueError, match="bytes"):
            uploads.append(session, made.id, "t", part(made, 0, 0))
        assert uploads.contents(session, made.id) == (made, ())


def test_parts_are_counted(sessions: Sessions) -> None:
    made = begun(sessions)
    sent(sessions, made, 0, 1)
    sent(sessions, made, 1, 1)

    def third() -> None:
        with sessions.begin() as session:
            uploads.take(session, made.id, offset=2, token="t")
            uploads.append(session, made.id, "t", part(made, 2, 1), most_parts=2)

    assert code_of(TooLarge, third) == "too_many_parts"
    with sessions.read() as session:
        assert uploads.get(session, made.id).received == 2


def test_an_upload_that_nobody_began(sessions: Sessions) -> None:
    unknown = uuid4()
    acts: list[Callable[[Session], object]] = [
        lambda session: uploads.get(session, unknown),
        lambda session: uploads.contents(session, unknown),
        lambda session: uploads.take(session, unknown, offset=0, token="t"),
        lambda session: uploads.append(session, unknown, "t", Part("k", 0, 1, sha256_of("p"))),
        lambda session: uploads.use(session, unknown),
        lambda session: uploads.drop(session, unknown),
    ]
    for act in acts:
        with sessions.begin() as session, pytest.raises(NotFound):
            act(session)


def test_an_upload_has_its_time(sessions: Sessions) -> None:
    made, busy, young = (begun(sessions, name=name) for name in ("old", "busy", "young"))
    sent(sessions, made, 0, 10)
    with sessions.begin() as session:
        uploads.take(session, busy.id, offset=0, token="t")
        set_back(session, made, "expires_at")
        set_back(session, busy, "expires_at")
    with sessions.begin() as session:
        for act in (
            lambda: uploads.get(session, made.id),
            lambda: uploads.take(session, made.id, offset=10, token="t"),
            lambda: uploads.use(session, made.id),
        ):
            assert code_of(Gone, act) == "upload_expired"
        assert [each.name for each in uploads.expired(session, 9)] == ["old"]
        uploads.append(session, busy.id, "t", part(busy, 0, 10))  # who is at it may end
        uploads.release(session, busy.id, "t")
        assert len(uploads.expired(session, 9)) == 2
        assert len(uploads.expired(session, 1)) == 1
        assert uploads.drop(session, made.id) == (part(made, 0, 10),)
        assert [each.name for each in uploads.expired(session, 9)] == ["busy"]
        assert uploads.get(session, young.id) == young


def test_what_a_job_was_promised_stays_until_its_end(sessions: Sessions) -> None:
    made = begun(sessions)
    sent(sessions, made, 0, 10)
    with sessions.begin() as session:
        assert uploads.use(session, made.id).state is UploadState.USED
        assert uploads.use(session, made.id).state is UploadState.USED
    job = running(sessions, spec={"uploads": [str(made.id)]})
    with sessions.begin() as session:
        set_back(session, made, "expires_at")
        assert uploads.expired(session, 9) == ()
        assert code_of(Conflict, lambda: uploads.drop(session, made.id)) == "upload_busy"
        assert uploads.contents(session, made.id)[1] == (part(made, 0, 10),)
        jobs.finish(session, job.id, job.fence, {})
        assert [each.id for each in uploads.expired(session, 9)] == [made.id]
        assert uploads.drop(session, made.id)


def test_a_job_may_drop_what_it_has_read(sessions: Sessions) -> None:
    made = begun(sessions)
    sent(sessions, made, 0, 10)
    with sessions.begin() as session:
        uploads.use(session, made.id)
    job = running(sessions, spec={"uploads": [str(made.id)]})
    with sessions.begin() as session:
        assert len(uploads.drop(session, made.id, by=job.id)) == 1
        assert session.scalar(select(func.count()).select_from(UploadPartRow)) == 0


def test_an_incomplete_upload_is_no_use(sessions: Sessions) -> None:
    made = begun(sessions)
    sent(sessions, made, 0, 9)
    with sessions.begin() as session, pytest.raises(Conflict, match="9 of 10") as caught:
        uploads.use(session, made.id)
    assert caught.value.stable_code == "upload_incomplete"


def test_what_is_deleted_meanwhile_takes_nothing_more(sessions: Sessions) -> None:
    made = begun(sessions)
    with sessions.begin() as session:
        uploads.take(session, made.id, offset=0, token="t")
    with sessions.begin() as session:
        assert uploads.drop(session, made.id) == ()
    with sessions.begin() as session, pytest.raises(NotFound):
        uploads.append(session, made.id, "t", part(made, 0, 4))


def stored(sessions: Sessions, name: str, size: int) -> UUID:
    with sessions.begin() as session:
        terms = {**TERMS, "sha256": sha256_of(name), "name": name, "size_bytes": size}
        return datasets.register(session, **terms)[0].id


def used(sessions: Sessions) -> int:
    with sessions.read() as session:
        return uploads.used_bytes(session)


def test_what_is_stored_is_added_up(sessions: Sessions) -> None:
    assert used(sessions) == 0
    kept, gone = stored(sessions, "kept", 100), stored(sessions, "gone", 40)
    assert kept != gone
    begins = begun(sessions, length=100)
    assert used(sessions) == 240  # the whole of what may still come
    assert code_of(TooLarge, lambda: begun(sessions, length=11)) == "quota_exceeded"
    fits = begun(sessions, length=10)
    assert used(sessions) == 250
    sent(sessions, begins, 0, 7)
    assert used(sessions) == 250
    with sessions.begin() as session:
        set_back(session, begins, "expires_at")
        datasets.delete(session, gone)
    assert used(sessions) == 100 + 7 + 10
    with sessions.begin() as session:
        uploads.drop(session, begins.id)
        uploads.drop(session, fits.id)
    assert used(sessions) == 100
    with sessions.read() as session:
        uploads.check_room(session, 150, LIMITS)
        with pytest.raises(TooLarge, match="150 are free"):
            uploads.check_room(session, 151, LIMITS)


def test_only_so_many_are_under_way(sessions: Sessions) -> None:
    limits = LIMITS.model_copy(update={"open_uploads": 1})
    first = begun(sessions, limits=limits)
    refused = code_of(Conflict, lambda: begun(sessions, limits=limits))
    assert refused == "too_many_uploads"
    sent(sessions, first, 0, 10)
    second = begun(sessions, limits=limits)  # a complete one is not under way
    with sessions.begin() as session:
        set_back(session, second, "expires_at")
    begun(sessions, limits=limits)


def test_of_many_who_begin_at_once_as_many_may_as_there_is_room(sessions: Sessions) -> None:
    def begin(_: int) -> str:
        try:
            begun(sessions)
        except Conflict as error:
            return error.stable_code
        return "begun"

    said = Counter(together(begin, 8))
    assert said == {"begun": LIMITS.open_uploads, "too_many_uploads": 8 - LIMITS.open_uploads}


def test_a_bad_beginning_says_all_that_is_wrong(sessions: Sessions) -> None:
    with pytest.raises(InvalidInput) as caught:
        begun(sessions, name="a\nb", length=0, sha256="A" * 64)
    assert [each.place for each in caught.value.details] == ["name", "length", "sha256"]
    for wrong in ({"name": " "}, {"name": "n" * 256}, {"length": -1}, {"sha256": "x"}):
        with pytest.raises(InvalidInput):
            begun(sessions, **wrong)
    with pytest.raises(TooLarge) as beyond:
        begun(sessions, length=10**30)
    assert beyond.value.stable_code == "archive_too_large"


def test_parts_lie_in_the_folder_of_their_upload() -> None:
    upload_id = uuid4()
    key = keys.upload_part(DEFAULT, upload_id, 7, "t")
    assert key == f"default/uploads/{upload_id}/00000000000000000007-t"
    assert key.startswith(f"{keys.upload(DEFAULT, upload_id)}/")
    with pytest.raises(ValueError, match="token"):
        keys.upload_part(DEFAULT, upload_id, 7, "../x")


def test_only_jobs_that_name_it_keep_an_upload(sessions: Sessions) -> None:
    made = begun(sessions)
    sent(sessions, made, 0, 10)
    with sessions.begin() as session:
        uploads.use(session, made.id)
        queued(session, spec={"uploads": [str(uuid4())]})
        assert jobs.unfinished(session, naming=made.id) == ()
        waits = queued(session, spec={"uploads": [str(made.id)]})
        assert jobs.unfinished(session, naming=made.id) == (waits.id,)
        jobs.cancel(session, waits.id)
        assert uploads.drop(session, made.id)
