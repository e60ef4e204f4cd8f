"""Keys: what they look like, who is recognised by them, and when no longer."""

import base64
import json
import re
import string
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.identity_tables import ApiKeyRow, BrowserSessionRow
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT, PUBLIC, ApiKey, Identity, Limits, ProjectId, Scope
from core.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from core.services import api_keys, browser_sessions, projects

EVERY = string.digits + string.ascii_letters


def made(session: Session, scope: Scope = Scope.WRITE) -> tuple[ApiKey, str]:
    return api_keys.create(session, DEFAULT, name="ci", scope=scope, expires_in=60)


def listed(session: Session, project_id: ProjectId | None = None) -> tuple[ApiKey, ...]:
    found, token = api_keys.listing(session, project_id=project_id, limit=10)
    assert token is None
    return found


def refused(session: Session, text: str) -> str:
    with pytest.raises(Unauthenticated) as caught:
        api_keys.identify(session, text)
    assert not text or text not in caught.value.message
    return caught.value.stable_code


def test_a_key_is_its_project_and_scope(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, text = made(session)
    with sessions.read() as session:
        assert api_keys.identify(session, text) == Identity(DEFAULT, Scope.WRITE, key.id)
        assert listed(session, DEFAULT) == (key,) == listed(session)
        assert listed(session, PUBLIC) == ()
        (kept,) = session.scalars(select(ApiKeyRow.secret_sha256)).all()
    assert key.expires_at is not None
    assert abs(key.expires_at - datetime.now(UTC) - timedelta(seconds=60)) < timedelta(minutes=5)
    assert text.split("_")[2] not in {kept, *map(str, (key,))}


def test_a_key_has_the_documented_form(sessions: Sessions) -> None:
    with sessions.begin() as session:
        _, text = made(session)
    assert re.fullmatch(r"hs_[0-9A-Za-z]{8}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}", text)
    assert api_keys.parsed(text) == tuple(text.split("_")[1:3])


@given(place=st.integers(3, 60), letter=st.sampled_from(EVERY))
def test_a_mistyped_key_is_none(place: int, letter: str) -> None:
    _, _, text = api_keys._minted()
    typed = text[:place] + letter + text[place + 1 :]
    assert (api_keys.parsed(typed) is None) == (typed != text)


def test_who_does_not_know_the_secret_learns_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, text = made(session)
        other = api_keys._minted()[2]
        body = f"hs_{key.id}_{other.split('_')[2]}"
        guessed = f"{body}_{api_keys._check(body)}"
        assert api_keys.parsed(guessed) is not None
        strangers = [other, guessed, "", text[:-1], f"{text} ", text.replace("hs_", "sk_")]
        assert {refused(session, each) for each in strangers} == {"unauthenticated"}
        api_keys.revoke(session, key.id)
        assert refused(session, guessed) == "unauthenticated"
        assert refused(session, text) == "key_revoked"


def test_an_ended_key_says_so_to_its_holder(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, text = made(session)
        expired = update(ApiKeyRow).where(ApiKeyRow.id == key.id).values(expires_at=now(-1))
        token = browser_sessions.begin(session, key.id)
        assert browser_sessions.identify(session, token).key_id == key.id
        session.execute(expired)
        assert refused(session, text) == "key_expired"
        with pytest.raises(Unauthenticated):
            browser_sessions.identify(session, token)


def test_revoking_twice_changes_nothing(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, _ = made(session)
        first = api_keys.revoke(session, key.id, DEFAULT)
        assert first.revoked_at is not None
        assert api_keys.revoke(session, key.id) == first
        for strange in ((key.id, PUBLIC), ("nobody00", None)):
            with pytest.raises(NotFound):
                api_keys.revoke(session, *strange)


def test_use_is_kept_by_the_minute(sessions: Sessions) -> None:
    def used() -> datetime | None:
        with sessions.begin() as session:
            api_keys.touch(session, key.id)
        with sessions.read() as session:
            return listed(session)[0].last_used_at

    with sessions.begin() as session:
        key, _ = made(session)
    first = used()
    assert first is not None
    assert used() == first
    with sessions.begin() as session:
        session.execute(update(ApiKeyRow).values(last_used_at=now(-61)))
    assert used() != first


def test_a_browser_is_known_until_it_leaves(sessions: Sessions) -> None:
    with sessions.begin() as session:
        key, _ = made(session, Scope.READ)
        token = browser_sessions.begin(session, key.id)
        over = browser_sessions.begin(session, key.id, seconds=-1)
        assert browser_sessions.identify(session, token) == Identity(DEFAULT, Scope.READ, key.id)
        with pytest.raises(Unauthenticated):
            browser_sessions.identify(session, over)
        browser_sessions.begin(session, key.id)  # the one that is over is forgotten
        assert len(session.scalars(select(BrowserSessionRow)).all()) == 2
        browser_sessions.end(session, token)
        with pytest.raises(Unauthenticated):
            browser_sessions.identify(session, token)
    assert browser_sessions.csrf_of(token) != browser_sessions.csrf_of(over)


def test_scopes_include_one_another() -> None:
    covered = [[each.covers(wanted) for wanted in Scope] for each in Scope]
    assert covered == [[True, False, False], [True, True, False], [True, True, True]]


def test_projects_are_called_once_and_limited(sessions: Sessions) -> None:
    with sessions.begin() as session:
        vision = projects.create(session, "vision", Limits(active_jobs=3))
        with pytest.raises(Conflict):
            projects.create(session, "vision")
        for name in ("", "Vision", "-", "a" * 65, "a b"):
            with pytest.raises(InvalidInput):
                projects.create(session, name)
        assert projects.named(session, "vision") == vision
        limited = projects.limit(session, vision.id, Limits(gpu_seconds=0.5))
        assert limited.limits == Limits(gpu_seconds=0.5)
        assert [each.name for each in projects.listing(session)] == ["default", "public", "vision"]
        with pytest.raises(InvalidInput):
            projects.limit(session, vision.id, Limits(active_jobs=-1))
        with pytest.raises(InvalidInput):
            projects.limit(session, PUBLIC, Limits())
        with pytest.raises(InvalidInput):
            api_keys.create(session, PUBLIC, name="", scope=Scope.READ)


def test_what_no_key_is_called_is_no_key_anywhere(sessions: Sessions) -> None:
    moment = datetime.now(UTC).isoformat()
    tokens = [
        base64.urlsafe_b64encode(json.dumps([moment, text]).encode()).decode().rstrip("=")
        for text in ("a\0b", "\ud800")
    ]
    with sessions.begin() as session:
        with pytest.raises(NotFound):
            api_keys.revoke(session, "a\0b")
        for after in tokens:
            with pytest.raises(InvalidInput):
                api_keys.listing(session, project_id=None, limit=1, after=after)
