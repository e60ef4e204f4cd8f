"""What is made is not stale, all of the interface is reachable, and nothing heavy comes along."""

import json
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement

from api import client_code, commands, service_commands

# Reached by another operation of the same.
BY_OTHERS = {
    "DATASETS_UPLOAD": "datasets.upload, in pieces",
    "DATASETS_PUT": "datasets.upload, in pieces",
    "UPLOADS_OPTIONS": "what the server can is known",
    "UPLOADS_HEAD": "by its address",
    "UPLOADS_APPEND": "by its address",
}
OTHERS = r"INFERENCE_(?!PREDICT)"  # any client of the Open Inference Protocol
HEAVY = ("api", "core", "worker", "fastapi", "pydantic", "sqlalchemy", "torch", "numpy", "boto3")
OWN = {"headstart": (), "api.cli": ("api", "core")}
# Airflow 3.0.2's own constraints (those of Python 3.12), and the newest that Prefect 3.9.1 and
# Airflow 3.3.2 resolve to.
PINNED = [
    ("anyio", "4.9.0"),
    ("httpx", "0.27.0"),
    ("httpx-sse", "0.4.0"),
    ("rich", "13.9.4"),
    ("typer", "0.16.0"),
    ("anyio", "4.16.0"),
    ("httpx", "0.28.1"),
    ("httpx-sse", "0.4.3"),
    ("rich", "15.0.0"),
    ("typer", "0.29.2"),
]


def test_what_is_made_is_not_stale() -> None:
    document = json.loads(client_code.DESCRIBED.read_text("utf-8"))
    said = "run python -m api.client_code --write"
    assert client_code.is_fresh(document, client_code.SCHEMA.read_text("utf-8")), said
    for path, text in client_code.made(document).items():
        assert path.read_text("utf-8") == text, said


def test_an_edit_by_hand_is_seen() -> None:
    document = json.loads(client_code.DESCRIBED.read_text("utf-8"))
    made = client_code.SCHEMA.read_text("utf-8")
    edited = made.replace("size: int", "size: str", 1)
    assert edited != made
    assert not client_code.is_fresh(document, edited)


def test_all_of_the_interface_is_reachable() -> None:
    known = set(re.findall(r"^([A-Z_0-9]+): Final", client_code.OPERATIONS.read_text(), re.M))
    sources = "".join(path.read_text("utf-8") for path in client_code.ASYNC.glob("*.py"))
    used = set(re.findall(r"operations\.([A-Z_0-9]+)", sources))
    left = {name for name in known - used if not re.match(OTHERS, name)}
    assert left == set(BY_OTHERS)


def test_nothing_asynchronous_is_left_in_the_blocking_half() -> None:
    for path in client_code.SYNC.glob("*.py"):
        assert not re.search(r"\b(async|await|Async\w+|anyio)\b", path.read_text("utf-8")), path


@pytest.mark.parametrize("module", ["headstart", "api.cli"])
def test_importing_it_brings_nothing_heavy(module: str) -> None:
    shown = f"import sys, {module}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", shown], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "httpx" in loaded
    assert not loaded & (set(HEAVY) - set(OWN[module]))


def test_the_services_commands_are_those_that_are_named_before_it_is_loaded() -> None:
    app = service_commands.app
    made = [each.name or each.callback.__name__ for each in app.registered_commands]
    made += [str(each.name) for each in app.registered_groups]
    assert tuple(made) == commands.SERVICE


@pytest.mark.parametrize(("needed", "version"), PINNED)
def test_it_is_content_with_what_schedulers_have(needed: str, version: str) -> None:
    text = (client_code.ROOT / "pyproject.toml").read_text("utf-8")
    needs = {
        each.name: each
        for each in map(Requirement, tomllib.loads(text)["project"]["dependencies"])
    }
    assert needs[needed].specifier.contains(version)
