"""How MLflow is told of searches: once, in full, and again where it could not be."""

import shutil
import ssl
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.config import MlflowSettings, Settings
from core.db.clock import now
from core.db.result_tables import SearchRow
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.mlflow import Run
from core.errors import InvalidInput
from core.execution import mlflow_sender, mlflow_server
from core.execution.metrics import REGISTRY
from core.execution.mlflow_sender import Sender
from core.execution.mlflow_server import MlflowServer
from core.services import mlflow_runs
from core.storage.local import LocalStore
from tests.fixtures.hosts import certificate
from tests.fixtures.impostor import answer
from tests.fixtures.mlflow import Tracking, refusal, tracking
from tests.unit.services import ended

__all__ = ["certificate"]


class Scene:
    """A database and a store of one service, and an MLflow that it tells."""

    def __init__(self, folder: Path, database: Path, mlflow: Tracking) -> None:
        self.folder, self.mlflow = folder, mlflow
        shutil.copy(database, folder / "headstart.db")
        self.system = Sessions(f"sqlite:///{folder / 'headstart.db'}")
        self.mine = self.system.within(DEFAULT)
        self.store = LocalStore(folder / "objects")

    def succeeded(self, name: str = "digits", **more: int) -> str:
        return str(ended.succeeded(self.mine, self.store, self.folder, name, **more))

    def tell(self, **settings: Any) -> None:
        """Let a sender go through everything that is due."""
        told = MlflowSettings(**{"tracking_uri": self.mlflow.server.url, **settings})
        with closing(MlflowServer(told)) as server:
            Sender(self.system, self.store, server, told).empty()

    def make_due(self) -> None:
        with self.system.begin() as session:
            session.execute(update(SearchRow).values(mlflow_due_at=now(-1)))

    def told(self) -> list[str | None]:
        with self.system.read() as session:
            of = select(SearchRow.mlflow_run_id).order_by(SearchRow.created_at)
            return list(session.scalars(of))


@pytest.fixture
def mlflow() -> Iterator[Tracking]:
    with tracking() as made:
        yield made


@pytest.fixture
def scene(tmp_path: Path, migrated_sqlite: Path, mlflow: Tracking) -> Iterator[Scene]:
    made = Scene(tmp_path, migrated_sqlite, mlflow)
    yield made
    made.system.dispose()


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("headstart_mlflow_attempts_total", {"outcome": outcome}) or 0


def tags(run: dict[str, Any]) -> dict[str, str]:
    return {each["key"]: each["value"] for each in run["data"]["tags"]}


def assert_whole(scene: Scene) -> None:
    """All that there is of the one search was told, and none of it twice."""
    run = scene.mlflow.run
    assert run["info"]["status"] == "FINISHED"
    said = Counter((each["key"], each["step"]) for each in run["data"]["metrics"])
    assert set(said.values()) == {1}
    assert {("retrain/train_loss", 1), ("search_0/valid_accuracy", 0), ("macs", 0)} <= set(said)
    names = Counter(each["key"] for each in run["data"]["params"])
    assert set(names.values()) == {1}
    assert "training.epochs" in names
    place = f"{run['info']['run_id']}/artifacts/model"
    assert scene.mlflow.files == {f"{place}/{name}": data for name, data in ended.FILES.items()}
    assert scene.told() == [run["info"]["run_id"]]


def test_a_search_becomes_a_run(scene: Scene) -> None:
    search_id, before = scene.succeeded(), counted("told")
    scene.tell()
    assert_whole(scene)
    run = scene.mlflow.run
    assert list(scene.mlflow.experiments) == ["headstart"]
    assert run["info"]["run_name"] == f"digits {search_id[:8]}"
    assert tags(run)["headstart.search_id"] == search_id
    (loss,) = (
        each
        for each in run["data"]["metrics"]
        if (each["key"], each["step"]) == ("retrain/train_loss", 1)
    )
    at = round(ended.BEGAN.timestamp() * 1000) + 1000
    assert (loss["value"], loss["timestamp"]) == (0.5, at)
    assert scene.mlflow.asked[-1] == "runs/update"  # who sees it finished sees all of it
    assert counted("told") == before + 1
    scene.tell()
    assert len(scene.mlflow.runs) == 1


def test_how_a_search_ended_is_how_its_run_ends(scene: Scene) -> None:
    ended.failed(scene.mine)
    ended.cancelled(scene.mine, "more")
    scene.tell(experiment="nightly")
    lost, stopped = scene.mlflow.runs.values()
    assert (lost["info"]["status"], stopped["info"]["status"]) == ("FAILED", "KILLED")
    assert tags(lost)["headstart.error_code"] == "diverged"
    assert stopped["info"]["start_time"] == stopped["info"]["end_time"]
    assert list(scene.mlflow.experiments) == ["nightly"]
    assert None not in scene.told()


@pytest.mark.parametrize("word", ["runs/create", "log-batch", "model.onnx", "runs/update"])
def test_what_was_begun_is_gone_on_with(scene: Scene, word: str) -> None:
    scene.succeeded()
    scene.mlflow.faults[word] = refusal(503, "TEMPORARILY_UNAVAILABLE")
    scene.tell()
    assert scene.told() == [None]
    scene.mlflow.faults.clear()
    scene.make_due()
    scene.tell()
    assert_whole(scene)


def test_what_was_told_and_not_noted_is_only_noted(scene: Scene) -> None:
    scene.succeeded()
    scene.tell()
    with scene.system.begin() as session:
        session.execute(update(SearchRow).values(mlflow_run_id=None))
    scene.mlflow.server.heard.clear()
    scene.tell()
    assert scene.mlflow.asked == ["experiments/get-by-name", "runs/search"]
    assert_whole(scene)


AWAY = {
    "broken": refusal(500, "INTERNAL_ERROR"),
    "busy": refusal(429, "REQUEST_LIMIT_EXCEEDED"),
    "a stranger": refusal(401, "UNAUTHENTICATED"),
    "not for us": refusal(403, "PERMISSION_DENIED"),
    "elsewhere": answer(302, location="/elsewhere"),
    "no mlflow": answer(200, b"<html>"),
    "nothing there": answer(404, b"<html>"),
    "silence": b"",
}


@pytest.mark.parametrize("fault", AWAY.values(), ids=AWAY)
def test_nobody_is_told_while_it_is_away(scene: Scene, fault: bytes) -> None:
    scene.succeeded()
    ended.failed(scene.mine, "more")
    scene.mlflow.faults["/"], before = fault, counted("away")
    scene.tell(token="t0ken")
    assert len(scene.mlflow.server.heard) == 1  # the other one is not even tried
    assert counted("away") == before + 1
    assert REGISTRY.get_sample_value("headstart_mlflow_waiting") == 2
    scene.mlflow.faults.clear()
    scene.make_due()
    scene.tell()
    assert len(scene.mlflow.runs) == 2
    assert None not in scene.told()
    assert REGISTRY.get_sample_value("headstart_mlflow_waiting") == 0
    assert REGISTRY.get_sample_value("headstart_mlflow_oldest_seconds") == 0


def test_a_server_that_is_not_there_is_away(scene: Scene) -> None:
    scene.succeeded()
    before = counted("away")
    scene.tell(tracking_uri="http://127.0.0.1:1")
    assert counted("away") == before + 1


def test_what_it_refuses_keeps_no_other_from_being_told(scene: Scene) -> None:
    ended.failed(scene.mine)
    scene.succeeded("more")
    before = counted("refused")
    scene.mlflow.faults["runs/search"] = refusal(400)
    scene.tell()
    assert counted("refused") == before + 2
    assert len(scene.mlflow.server.heard) == 5  # the experiment is made for the first
    with scene.system.read() as session:
        assert list(session.scalars(select(SearchRow.mlflow_failures))) == [1, 1]


def test_a_bug_that_one_brings_out_keeps_no_other_from_being_told(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = ended.failed(scene.mine)
    scene.succeeded("more")
    before, read = counted("broken"), mlflow_runs.read

    def broken(session: Session, search_id: UUID, **terms: Any) -> Run:
        if search_id == first:
            raise KeyError("what nobody thought of")
        return read(session, search_id, **terms)

    monkeypatch.setattr(mlflow_runs, "read", broken)
    scene.tell()
    assert counted("broken") == before + 1
    assert scene.told() == [None, scene.mlflow.run["info"]["run_id"]]


def test_one_that_takes_too_long_is_left_for_later(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mlflow_server, "TOTAL_SECONDS", -1.0)
    scene.succeeded()
    before = counted("away")
    scene.tell()
    assert (counted("away"), scene.mlflow.server.heard) == (before + 1, [])


def test_a_file_that_it_does_not_take_is_left_out(scene: Scene) -> None:
    scene.succeeded()
    scene.mlflow.faults["model.onnx"] = answer(413, b"<html>too large")
    scene.tell()
    run = scene.mlflow.run
    assert run["info"]["status"] == "FINISHED"
    assert tags(run)["headstart.artifacts_left_out"] == "model.onnx"
    assert list(scene.mlflow.files) == [f"{run['info']['run_id']}/artifacts/model/README.md"]


def test_a_file_that_was_deleted_is_left_out(scene: Scene) -> None:
    scene.succeeded()
    scene.store.delete(["default/jobs/digits/README.md"])
    scene.tell()
    assert tags(scene.mlflow.run)["headstart.artifacts_left_out"] == "README.md"
    assert scene.mlflow.run["info"]["status"] == "FINISHED"


@pytest.mark.parametrize("uri", ["s3://bucket/{}", "mlflow-artifacts://elsewhere/{}"])
def test_files_that_the_server_does_not_serve_are_linked_to(scene: Scene, uri: str) -> None:
    scene.mlflow.artifacts = uri
    scene.succeeded()
    scene.tell(links_to="https://search.example/")
    link = tags(scene.mlflow.run)["headstart.artifacts"]
    assert link.startswith("https://search.example/models/")
    assert scene.mlflow.files == {}


def test_a_long_history_goes_in_batches(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlflow_server, "AT_ONCE", 7)
    scene.succeeded(epochs=9)
    scene.tell()
    batches = [path for path in scene.mlflow.asked if path == "runs/log-batch"]
    assert len(batches) == 1 + -(-len(scene.mlflow.run["data"]["metrics"]) // 7)
    assert_whole(scene)


def test_it_is_shown_what_it_asks_for(scene: Scene) -> None:
    scene.succeeded()
    scene.tell(token=SecretStr("t0ken"))
    assert {each.headers["authorization"] for each in scene.mlflow.server.heard} == {
        "Bearer t0ken"
    }
    scene.mlflow.server.heard.clear()
    ended.failed(scene.mine, "more")
    scene.tell(username="ana", password="secret")
    assert {each.headers["authorization"] for each in scene.mlflow.server.heard} == {
        "Basic YW5hOnNlY3JldA=="
    }


def test_an_experiment_that_was_deleted_is_left_alone(scene: Scene) -> None:
    scene.mlflow.experiments["headstart"] = {"experiment_id": "0", "lifecycle_stage": "deleted"}
    scene.succeeded()
    scene.tell()
    assert scene.mlflow.runs == {}
    assert scene.told() == [None]


def test_its_certificate_is_checked(
    tmp_path: Path, migrated_sqlite: Path, certificate: Path
) -> None:
    secured = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    secured.load_cert_chain(certificate)
    with tracking(secured=secured) as mlflow:
        scene = Scene(tmp_path, migrated_sqlite, mlflow)
        uri = f"https://localhost:{mlflow.server.port}"
        scene.succeeded()
        scene.tell(tracking_uri=uri)
        assert mlflow.runs == {}
        scene.make_due()
        scene.tell(tracking_uri=uri, ca_file=certificate)
        assert_whole(scene)
        scene.system.dispose()


def test_certificates_that_are_none_are_named_at_the_start(tmp_path: Path) -> None:
    told = MlflowSettings(tracking_uri="https://mlflow.example", ca_file=tmp_path / "none.pem")
    with pytest.raises(InvalidInput, match=r"none\.pem"):
        MlflowServer(told)


def test_a_sender_that_is_stopped_leaves_the_rest(scene: Scene) -> None:
    scene.succeeded()
    told = MlflowSettings(tracking_uri=scene.mlflow.server.url)
    with closing(MlflowServer(told)) as server:
        sender = Sender(scene.system, scene.store, server, told)
        sender.stop()
        sender.empty()
    assert scene.mlflow.server.heard == []


def test_a_service_tells_by_itself_where_it_is_told_to(scene: Scene) -> None:
    scene.succeeded()
    with mlflow_sender.telling(Settings(home=scene.folder), scene.system, scene.store):
        pass
    assert scene.mlflow.server.heard == []
    told = {"tracking_uri": scene.mlflow.server.url}
    settings = Settings(home=scene.folder, mlflow=told)
    with mlflow_sender.telling(settings, scene.system, scene.store):
        while scene.told() == [None]:
            time.sleep(0.05)
    assert_whole(scene)
