"""The files in `examples` do what they say, on a service that asks for keys.

Airflow and Prefect are stood in for: what they decorate is called as the plain Python it is.
"""

import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import headstart
from tests.e2e import shapes
from tests.e2e.conftest import serving
from tests.e2e.test_http import SPACE, TRAINING
from tests.e2e.test_login import new_key
from tests.fixtures.mlflow import Tracking, tracking

EXAMPLES = Path(__file__).parents[2] / "examples"
SEARCH = {"training": TRAINING, "space": SPACE, "retrain_epochs": 1, "policy": "cold"}
FILES = {"model.onnx", "model.safetensors", "README.md"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def mlflow() -> Iterator[Tracking]:
    """What is told of every search there."""
    with tracking() as made:
        yield made


@pytest.fixture(scope="module")
def client(
    mlflow: Tracking, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[headstart.Client]:
    """Somebody's with a key, which examples find in their environment."""
    folder = tmp_path_factory.mktemp("keyed")
    more = {"HEADSTART_AUTH": "keys", "HEADSTART_SLOTS": "1"}
    more["HEADSTART_MLFLOW__TRACKING_URI"] = mlflow.server.url
    with (
        serving(folder, **more) as service,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HEADSTART_URL", service.url)
        patch.setenv("HEADSTART_KEY", new_key(service))
        with headstart.Client() as client:
            client.datasets.upload(
                shapes.archive(folder / "digits.zip", images=12, seed=21), name="digits"
            )
            yield client


def plain(step: Any = None, **_: Any) -> Any:
    """A decorator that leaves what it decorates alone, with or without arguments."""
    return step or plain


class Task:
    """As `plain`, with the sort that Airflow knows besides."""

    sensor = staticmethod(plain)
    __call__ = staticmethod(plain)


def loaded(name: str, patch: pytest.MonkeyPatch, **modules: Any) -> Any:
    """An example, in which a framework is what it is said to be here."""
    for each, module in modules.items():
        patch.setitem(sys.modules, each.replace("_", "."), module)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    patch.setattr(example, "SEARCH", SEARCH)
    return example


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir()}


def step(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs the workflow's script as a runner does."""
    workflow = yaml.safe_load((EXAMPLES / "github_actions.yml").read_text("utf-8"))
    script = workflow["jobs"]["search"]["steps"][0]["run"]
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env={**os.environ, "DATASET": "digits", "SEARCH": json.dumps(SEARCH), **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


def assert_told(mlflow: Tracking, fetched: Path, **searches: dict[str, str]) -> None:
    """MLflow has a run of each, and of that with a model what there is to see."""
    wanted = {status: each["search"] for status, each in searches.items()}
    for _ in range(600):
        runs = {each["info"]["status"]: each for each in mlflow.runs.values()}
        if runs.keys() == wanted.keys():
            break
        time.sleep(0.1)
    for status, search in wanted.items():
        told = {each["key"]: each["value"] for each in runs[status]["data"]["tags"]}
        assert told["headstart.search_id"] == search
    numbers = {(each["key"], each["step"]) for each in runs["FINISHED"]["data"]["metrics"]}
    figures = ("test_accuracy", "test_accuracy_low", "macs", "parameters", "seconds/search")
    assert numbers >= {(each, 0) for each in (*figures, "retrain/valid_accuracy")}
    assert ("search_0/valid_accuracy", TRAINING["epochs"]) in numbers
    place = f"{runs['FINISHED']['info']['run_id']}/artifacts/model"
    files = {f"{place}/{each.name}": each.read_bytes() for each in fetched.iterdir()}
    assert mlflow.files.items() <= files.items()
    assert f"{place}/model.onnx" in mlflow.files


def test_all_wait_for_one_search(
    client: headstart.Client, mlflow: Tracking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They ask under one key, as each does when it is tried again; so it is one search."""
    airflow = SimpleNamespace(task=Task(), dag=lambda **_: lambda graph: lambda: None)
    steps = loaded("airflow_search", monkeypatch, airflow_sdk=airflow)
    runtime = SimpleNamespace(flow_run=SimpleNamespace(id="manual__2026-01-31T12:00:00-1"))
    prefect = SimpleNamespace(flow=plain, task=plain)
    flow = loaded("prefect_search", monkeypatch, prefect=prefect, prefect_runtime=runtime)
    run = f"{client.datasets.id_of('digits')}:manual__2026-01-31T12:00:00"
    asked = steps.submit("digits", run_id=runtime.flow_run.id)
    assert steps.submit("digits", run_id=runtime.flow_run.id) == asked
    assert not steps.ended(asked)

    unwanted = steps.submit("digits", run_id="another")
    client.jobs.cancel(unwanted["job"])
    with pytest.raises(headstart.JobCancelled):
        steps.ended(unwanted)

    with ThreadPoolExecutor() as pool:
        flowed = pool.submit(flow.search_architecture, "digits", tmp_path / "flow")
        stepped = pool.submit(step, tmp_path, GITHUB_RUN_ID=run, GITHUB_RUN_ATTEMPT="1")
    assert steps.ended(asked)
    fetched = steps.fetch(asked, str(tmp_path / "fetched"))
    assert names(tmp_path / "fetched") == {Path(each).name for each in fetched} >= FILES
    assert names(tmp_path / "flow") == {each.name for each in flowed.result()} >= FILES
    told = stepped.result()
    assert told.returncode == 0, told.stdout + told.stderr
    assert names(tmp_path / "model") == names(tmp_path / "fetched")
    assert "running " in told.stdout
    assert "model/model.onnx: OK" in told.stdout
    assert {each["id"] for each in client.searches.list()} == {asked["search"], unwanted["search"]}
    assert_told(mlflow, tmp_path / "fetched", FINISHED=asked, KILLED=unwanted)


def test_the_workflow_fails_where_it_is_not_let_in(
    client: headstart.Client, tmp_path: Path
) -> None:
    refused = step(tmp_path, HEADSTART_KEY="hs_no")
    assert refused.returncode != 0
    assert "401" in refused.stderr
