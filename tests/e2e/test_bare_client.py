"""`pip install headstart-nas` alone: a client, and nothing of a service."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import Service

ROOT = Path(__file__).parents[2]
UV = ROOT / ".venv" / "bin" / "uv"
PINS = ROOT / "requirements" / "constraints.txt"
FILES = ("pyproject.toml", "README.md", "LICENSE")
FOLDERS = ("api", "core", "headstart", "migrations", "worker")
SERVICE = {"alembic", "boto3", "celery", "fastapi", "numpy", "sqlalchemy", "torch"}

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the package alone, at the tested versions; skips where
    nothing can be installed, except in CI, where that is a failure."""
    folder = tmp_path_factory.mktemp("bare")
    source, programs = folder / "source", folder / "environment" / "bin"
    for name in FOLDERS:  # building writes beside its sources
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    uv = UV if UV.exists() else "uv"
    subprocess.run([uv, "venv", "--quiet", programs.parent], check=True)
    install = [uv, "pip", "install", "--python", programs / "python", source]
    install += ["--constraint", PINS, "--build-constraint", PINS]
    for how in ("--offline", "--quiet"):  # most often it is all at hand since .venv was made
        done = subprocess.run([*install, how], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return programs
    if os.environ.get("CI"):
        pytest.fail(done.stderr)
    pytest.skip(f"the package could not be installed: {done.stderr}")


@pytest.fixture
def run(bare: Path, service: Service, tmp_path: Path) -> Run:
    """Runs one of its programs for whoever uses this service."""
    environment = {
        "PATH": os.environ["PATH"],
        "HEADSTART_URL": service.url,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }

    def run(program: str, *arguments: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [bare / program, *map(str, arguments)],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def said(run: Run, *arguments: Any) -> str:
    done = run("headstart", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def test_a_client_gets_nothing_of_the_service(run: Run) -> None:
    listing = "from importlib import metadata; print(*(d.name for d in metadata.distributions()))"
    installed = set(run("python", "-c", listing).stdout.lower().split())
    assert {"headstart-nas", "httpx", "typer"} <= installed
    assert not installed & SERVICE
    loaded = run("python", "-c", "import headstart; print(headstart.Client().ready()['status'])")
    assert loaded.stdout == "ok\n", loaded.stderr


def test_its_commands_work(run: Run, http: httpx.Client) -> None:
    listed = json.loads(said(run, "datasets", "list", "--json"))
    assert listed["items"] == http.get("/v1/datasets?page_size=100").json()["items"]
    (shipped,) = json.loads(said(run, "zoo", "list", "--json"))["items"]
    assert (shipped["bundle"], shipped["installed"]) == ("glyphs-and-more", "no")
    assert shipped["trained on"].startswith("22 datasets: ")


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("serve --port 0", "service"),
        ("keys create --scope write", "service"),
        ("statistics . --out made", "worker"),
    ],
)
def test_what_needs_more_says_what(run: Run, command: str, extra: str) -> None:
    refused = run("headstart", *command.split())
    assert refused.returncode == 1
    assert f"headstart-nas[{extra}]" in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr


def test_help_names_what_is_not_there(run: Run) -> None:
    (line,) = (each for each in said(run, "--help").splitlines() if " serve " in each)
    assert "headstart-nas[service]" in line
