"""The package's own bundles: entered at the start, never in the way of it."""

from importlib import resources
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from core.config import Settings
from core.data import bundle
from core.db.sessions import Sessions
from core.domain.supernets import LineageKind
from core.embedded import embedded
from core.errors import Unavailable
from core.services import supernets
from core.storage.local import LocalStore
from core.zoo import entry, shipped
from tests.unit.data.bundle_files import encoded


@pytest.fixture(autouse=True)
def _as_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADSTART_ZOO")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with two good bundles, a broken one and a file that is none."""
    made = tmp_path / "package"
    made.mkdir()
    (made / "b.safetensors").write_bytes(encoded())
    (made / "a.safetensors").write_bytes(encoded(name="other"))
    (made / "broken.safetensors").write_bytes(encoded()[:-1])
    (made / "notes.txt").write_text("no bundle")
    monkeypatch.setattr(shipped, "folder", lambda: made)
    return made


def names(sessions: Sessions) -> list[str]:
    with sessions.read() as session:
        return sorted(each.name for each in supernets.listing(session, limit=9)[0])


def test_the_package_has_a_folder_for_them() -> None:
    assert shipped.folder() == resources.files("core.zoo")
    for each in shipped.bundles():
        assert each.name.isprintable()


@pytest.mark.usefixtures("folder")
def test_they_are_listed_by_name() -> None:
    assert [each.name for each in shipped.bundles()] == ["a", "b", "broken"]
    with shipped.bundles()[1].file() as path:
        assert path.read_bytes() == encoded()


@pytest.mark.usefixtures("folder")
def test_they_are_entered_once_and_the_broken_one_is_logged(
    sessions: Sessions, store: LocalStore, tmp_path: Path
) -> None:
    settings = Settings(home=tmp_path)
    with capture_logs() as lines:
        entry.enter_shipped(settings, sessions, store)
    said = [(each["event"], each["bundle"]) for each in lines]
    assert said == [
        ("zoo_bundle_entered", "a"),
        ("zoo_bundle_entered", "b"),
        ("zoo_bundle_left_out", "broken"),
    ]
    assert names(sessions) == ["other", "tiny"]
    with capture_logs() as lines:
        entry.enter_shipped(settings, sessions, store)
    assert [each["event"] for each in lines] == ["zoo_bundle_left_out"]
    assert names(sessions) == ["other", "tiny"]


@pytest.mark.usefixtures("folder")
def test_off_means_off(
    sessions: Sessions, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADSTART_ZOO", "off")
    entry.enter_shipped(Settings(home=tmp_path), sessions, store)
    assert names(sessions) == []


@pytest.mark.usefixtures("folder")
def test_a_store_that_is_away_is_not_fatal(
    sessions: Sessions, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise Unavailable("The store does not answer.")

    monkeypatch.setattr(store, "put", away)
    with capture_logs() as lines:
        entry.enter_shipped(Settings(home=tmp_path), sessions, store)
    assert {each["event"] for each in lines} == {"zoo_bundle_left_out"}
    assert len(lines) == 3


@pytest.mark.usefixtures("folder")
def test_a_fresh_installation_starts_warm(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", slots=1)
    for _ in range(2):  # and again finds them there
        with embedded(settings) as container:
            assert names(container.sessions) == ["other", "tiny"]


def test_what_the_package_ships_is_sound_small_and_licensed() -> None:
    found = shipped.bundles()
    assert found
    total = 0
    for each in found:
        with each.file() as path:
            manifest = bundle.read(path).manifest  # every check that a stranger's file gets
            total += path.stat().st_size
        assert manifest.lineage["kind"] == LineageKind.MULTI_DATASET
        for dataset in manifest.lineage["datasets"]:
            assert dataset["licence"]
            assert dataset["source"]
    assert total <= 12 * 2**20


def test_the_first_search_of_a_new_installation_has_a_warm_start(tmp_path: Path) -> None:
    with (
        embedded(Settings(home=tmp_path / "home", slots=1)) as container,
        container.sessions.read() as session,
    ):
        starts = supernets.shared(session)
    assert [each.name for each in starts] == ["glyphs-and-more"]
