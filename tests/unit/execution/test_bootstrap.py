"""The container takes the queue that the settings ask for, and logs are one line each."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from core import bootstrap
from core.config import JobTimings, MlflowSettings, Settings
from core.errors import InvalidInput
from core.queue.celery_queue import CeleryQueue
from core.queue.hintless import HintlessQueue
from core.storage.local import LocalStore
from worker.factory import create_app


def test_without_a_broker_nobody_is_told(tmp_path: Path) -> None:
    container = bootstrap.build(Settings(home=tmp_path))
    assert isinstance(container.queue, HintlessQueue)
    assert isinstance(container.store, LocalStore)
    container.close()


def test_with_a_broker_workers_are_told_unless_a_queue_is_given(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, redis_url="redis://127.0.0.1:1/0")
    container = bootstrap.build(settings)
    assert isinstance(container.queue, CeleryQueue)
    container.close()
    given = HintlessQueue()
    container = bootstrap.build(settings, queue=given)
    assert container.queue is given
    container.close()


@pytest.mark.parametrize(
    "clocks", [{"lease": 40}, {"self_stop": 60}, {"self_stop": 5}, {"heartbeat": 45}]
)
def test_two_workers_never_compute_one_job_by_configuration(clocks: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="heartbeat < self_stop < lease"):
        JobTimings(**clocks)  # type: ignore[arg-type]


def test_an_embedder_without_its_version_is_refused_for_it_would_find_no_source() -> None:
    with pytest.raises(ValueError, match="embedder"):
        Settings(embedder="resnet18")
    assert Settings(embedder="resnet18@1-0123456789ab").embedder.startswith("resnet18@")


@pytest.mark.parametrize(
    "told",
    [
        {"tracking_uri": "mlflow.example"},
        {"tracking_uri": "file:///mlruns"},
        {"tracking_uri": "https://ana:canary@mlflow.example"},
        {"tracking_uri": "https://mlflow.example/?token=canary"},
        {"username": "ana"},
        {"password": "canary"},
        {"username": "ana", "password": "canary", "token": "canary"},
    ],
)
def test_mlflow_is_named_without_its_credentials_which_are_whole(told: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="mlflow") as refused:
        Settings(mlflow={"tracking_uri": "https://mlflow.example", **told})
    assert "canary" not in str(refused.value)


def test_a_deployment_may_say_nothing_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRACKING_URI", "TOKEN", "USERNAME", "PASSWORD", "LINKS_TO", "CA_FILE"):
        monkeypatch.setenv(f"HEADSTART_MLFLOW__{name}", "")
    assert Settings().mlflow == MlflowSettings()
    monkeypatch.setenv("HEADSTART_MLFLOW__TRACKING_URI", "https://mlflow.example/base/")
    monkeypatch.setenv("HEADSTART_MLFLOW__TOKEN", "canary")
    assert Settings().mlflow.tracking_uri == "https://mlflow.example/base"
    assert "canary" not in repr(Settings())


def test_a_worker_needs_a_broker(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="HEADSTART_REDIS_URL"):
        create_app(Settings(home=tmp_path))


@pytest.fixture
def logging_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_restored")
def test_what_a_user_typed_cannot_pass_for_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    forged = 'cat\n{"event": "job_succeeded"}\x1b[31m'
    for log_format in ("json", "console"):
        bootstrap.configure_logging(log_format)  # type: ignore[arg-type]
        with structlog.contextvars.bound_contextvars(job_id="7"):
            structlog.stdlib.get_logger("test").info("dataset_named", name=forged)
            logging.getLogger("library").warning("plain %s", "words")
    ours, theirs, *console = capsys.readouterr().err.splitlines()
    first, second = json.loads(ours), json.loads(theirs)
    assert (first["name"], first["job_id"], first["level"]) == (forged, "7", "info")
    assert (second["event"], second["job_id"]) == ("plain words", "7")
    assert len(console) == 2
    assert "\x1b" not in "".join(console)


@pytest.mark.usefixtures("logging_restored")
def test_a_traceback_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    bootstrap.configure_logging("console")
    password = "".join(["ca", "nary"])
    try:
        raise RuntimeError(f"length {len(password)}")
    except RuntimeError:
        structlog.stdlib.get_logger("test").exception("failed")
    said = capsys.readouterr().err
    assert "length 6" in said
    assert "canary" not in said
