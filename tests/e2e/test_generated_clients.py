"""Clients generated from the description alone upload, search, wait and download."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e import shapes
from tests.e2e.conftest import Service

ROOT = Path(__file__).parents[2]
DESCRIBED = ROOT / "docs" / "openapi.json"
STRANGERS = Path(__file__).parent / "strangers"
GENERATORS = ROOT / ".venv" / "generators"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def run(*command: str | Path, cwd: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(cwd)}
    done = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def generators() -> Path:
    """Where they are; skips where they are not, except in CI, where that is a failure."""
    needed = (GENERATORS / "python" / "bin" / "python", GENERATORS / "node_modules" / ".bin")
    if all(each.exists() for each in needed) and shutil.which("node"):
        return GENERATORS
    reason = "no generators: run requirements/generators.sh where node and npm are"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def in_python(generators: Path, folder: Path, *arguments: str | Path) -> None:
    tools = generators / "python" / "bin"
    options = ["--config", STRANGERS / "openapi-python-client.yaml", "--meta", "none"]
    run(tools / "openapi-python-client", "generate", "--path", DESCRIBED, *options, cwd=folder)
    run(tools / "python", STRANGERS / "generated.py", *arguments, cwd=folder)


def in_typescript(generators: Path, folder: Path, *arguments: str | Path) -> None:
    tools = generators / "node_modules" / ".bin"
    (folder / "node_modules").symlink_to(generators / "node_modules")
    (folder / "package.json").write_text('{"type": "module"}')
    for name in ("generated.ts", "tsconfig.json"):
        shutil.copy(STRANGERS / name, folder)
    # A field that has a default may be left out of a request.
    options = ["--default-non-nullable", "false", "--output", "described.d.ts"]
    run(tools / "openapi-typescript", DESCRIBED, *options, cwd=folder)
    run(tools / "tsc", "--project", ".", cwd=folder)
    run("node", "generated.js", *arguments, cwd=folder)


@pytest.mark.parametrize("generated", [in_python, in_typescript])
def test_a_generated_client_does_the_main_job(
    service: Service, generators: Path, tmp_path: Path, generated: Callable[..., None]
) -> None:
    images = shapes.archive(tmp_path / "shapes.zip", images=12, seed=len(generated.__name__))
    made, folder = tmp_path / "made", tmp_path / "client"
    made.mkdir()
    folder.mkdir()
    generated(generators, folder, service.url, images, made)
    assert (made / "model.onnx").stat().st_size > 1_000
