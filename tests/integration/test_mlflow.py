"""A real MLflow server is told of searches by a sender that is killed on the way."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from api import doctor
from api.doctor import State
from core.config import Settings
from core.crash_points import VARIABLE
from core.db import schema
from core.db.clock import now
from core.db.result_tables import SearchRow
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.storage.local import LocalStore
from tests.fixtures.servers import Identity, free_port, listens, running, server_folder
from tests.unit.services import ended

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "integrations.md"
PYTHON = ROOT / ".venv" / "mlflow" / "bin" / "python"
# What `mlflow server` starts, without the process that starts it: that one takes as long again.
APPLICATION = "mlflow.server.fastapi_app:app"
SENDER = """
from contextlib import closing
from core.config import Settings
from core.db.sessions import Sessions
from core.execution.mlflow_sender import Sender
from core.execution.mlflow_server import MlflowServer
from core.storage.select import store_of
settings = Settings()
with closing(MlflowServer(settings.mlflow)) as server:
    Sender(Sessions(settings.database), store_of(settings), server, settings.mlflow).empty()
"""

pytestmark = [pytest.mark.services, pytest.mark.slow]


@pytest.fixture(scope="module")
def mlflow() -> Iterator[str]:
    """Where a server answers; skips where none is installed, except in CI: there it fails."""
    if not PYTHON.exists():
        reason = "no MLflow: run requirements/mlflow.sh"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    port = free_port()
    with server_folder("mlflow", Identity.current()) as folder:
        told = {
            "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{folder}/mlflow.db",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(folder / "artifacts"),
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [PYTHON, "-m", "uvicorn", APPLICATION, "--port", str(port)]
        ready = {"ready": lambda: listens(port), "seconds": 240.0}
        with running(command, folder=folder, environment=told, **ready):  # type: ignore[arg-type]
            yield f"http://127.0.0.1:{port}"


class Asked:
    """What the server says of itself, by its own interface."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, what: str, **terms: str) -> dict[str, Any]:
        found = httpx.get(f"{self._url}/api/2.0/mlflow/{what}", params=terms)
        return dict(found.raise_for_status().json())

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        found = self.get("experiments/get-by-name", experiment_name=experiment)["experiment"]
        terms = {"experiment_ids": [found["experiment_id"]], "order_by": ["attributes.start_time"]}
        answer = httpx.post(f"{self._url}/api/2.0/mlflow/runs/search", json=terms)
        return list(answer.raise_for_status().json()["runs"])

    def history(self, run_id: str, key: str) -> list[tuple[int, int, float]]:
        found = self.get("metrics/get-history", run_id=run_id, metric_key=key)["metrics"]
        return [(each["step"], each["timestamp"], each["value"]) for each in found]

    def file(self, run_id: str, path: str) -> bytes:
        asked = {"run_uuid": run_id, "path": path}
        found = httpx.get(f"{self._url}/get-artifact", params=asked)
        return found.raise_for_status().content


def send(settings: Settings, mlflow: str, **more: str) -> int:
    told = {"HEADSTART_HOME": str(settings.home), "HEADSTART_MLFLOW__TRACKING_URI": mlflow}
    command = [sys.executable, "-c", SENDER]
    ran = subprocess.run(command, env={**os.environ, **told, **more}, cwd=ROOT, check=False)
    return ran.returncode


@pytest.mark.timeout(600)
def test_a_real_server_has_every_search_once(tmp_path: Path, mlflow: str) -> None:
    settings = Settings(home=tmp_path, mlflow={"tracking_uri": mlflow})
    schema.migrate(settings.database)
    system = Sessions(settings.database)
    asked = Asked(mlflow)
    said = next(doctor._mlflow(settings))
    assert (said.state, "will make" in said.said) == (State.OK, True)
    store = LocalStore(tmp_path / "objects")
    search_id = ended.succeeded(system.within(DEFAULT), store, tmp_path)
    ended.failed(system.within(DEFAULT), "lost")
    for point in ("before_run_files", "before_run_note"):  # before the first has its status, after
        assert send(settings, mlflow, **{VARIABLE: point}) == -signal.SIGKILL
        with system.begin() as session:
            session.execute(update(SearchRow).values(mlflow_due_at=now(-1)))
    assert send(settings, mlflow) == 0
    with system.read() as session:
        told = {each.id: each.mlflow_run_id for each in session.query(SearchRow)}
    system.dispose()
    runs = {each["info"]["run_id"]: each for each in asked.runs("headstart")}
    assert set(runs) == set(told.values())
    assert len(runs) == 2
    run = runs[str(told[search_id])]
    (lost,) = (each for id_, each in runs.items() if id_ != told[search_id])
    assert (run["info"]["status"], lost["info"]["status"]) == ("FINISHED", "FAILED")
    assert run["info"]["run_name"] == f"digits {str(search_id)[:8]}"
    tags = {each["key"]: each["value"] for each in run["data"]["tags"]}
    assert tags["headstart.search_id"] == str(search_id)
    assert (tags["label.team"], tags["label.odd..name"]) == ("vision", "x")
    assert tags["mlflow.user"] == "default"
    assert "headstart.artifacts_left_out" not in tags
    params = {each["key"]: each["value"] for each in run["data"]["params"]}
    assert params["training.method"] == "darts"
    began = round(ended.BEGAN.timestamp() * 1000)
    for id_ in runs:
        history = asked.history(id_, "retrain/train_loss")
        assert history == [(0, began, 1.0), (1, began + 1000, 0.5)]
    last = {each["key"]: each["value"] for each in run["data"]["metrics"]}
    assert (last["test_accuracy"], last["macs"], last["gpu_seconds"]) == (0.9, 566_976, 41.0)
    for name, data in ended.FILES.items():
        assert asked.file(run["info"]["run_id"], f"model/{name}") == data
    assert "headstart.error_code" in {each["key"] for each in lost["data"]["tags"]}
    assert_the_guide_finds_it(mlflow, tmp_path)


def assert_the_guide_finds_it(mlflow: str, folder: Path) -> None:
    """By MLflow's own client."""
    (program,) = re.findall(r"```python\n(import mlflow\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    ran = subprocess.run(
        [PYTHON, "-c", program],
        env={**os.environ, "MLFLOW_TRACKING_URI": mlflow, "MLFLOW_DISABLE_TELEMETRY": "true"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    best, file = ran.stdout.splitlines()
    assert best == "digits 0.9"
    assert Path(file).read_bytes() == ended.FILES["model.onnx"]
