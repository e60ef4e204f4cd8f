"""The confined child: what it may use, how its end is told, and that nothing stays behind."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from core.config import UploadLimits
from core.data import intake, packing, sandbox
from core.domain.jobs import Progress
from core.errors import AppError, BadArchive, InvalidInput, TooLarge
from tests.attacks.costly import ten_gibibytes_of_zeros
from tests.unit.data.builders import Entry, dataset, encode, raw_zip, tar_bytes, write, zip_bytes

HONEST = dataset(10)


def child_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_an_upload_becomes_files_and_a_report(tmp_path: Path, limits: UploadLimits) -> None:
    seen: list[Progress] = []
    archive = write(tmp_path / "upload", tar_bytes(HONEST, "w:gz"))
    prepared = intake.prepare(archive, tmp_path / "out", limits, on_progress=seen.append)
    assert prepared.classes == ("cat", "dog")
    assert (prepared.train_counts, prepared.test_counts) == ((8, 8), (2, 2))
    assert (prepared.channels, prepared.resolution) == (1, 32)
    assert packing.read(prepared.packed).images.shape == (20, 1, 32, 32)
    assert prepared.originals.stat().st_size > 1000
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        prepared.packed.name,
        prepared.originals.name,
    }
    assert prepared.report.images_kept == 20
    assert seen[-1] == Progress("write", 1.0)


def test_runs_agree(tmp_path: Path, limits: UploadLimits) -> None:
    archive = write(tmp_path / "upload", zip_bytes(HONEST))
    first, second = (intake.prepare(archive, tmp_path / name, limits) for name in "ab")
    assert first.sha256 == second.sha256
    assert first.report == second.report
    assert first.packed.read_bytes() == second.packed.read_bytes()
    assert first.originals.read_bytes() == second.originals.read_bytes()


def test_a_refusal_crosses_the_process_with_all_its_details(
    tmp_path: Path, limits: UploadLimits
) -> None:
    names = [b"../a.png", b"cat/\x1b.png"]
    archive = write(tmp_path / "upload", raw_zip([Entry(name, b"x") for name in names]))
    with pytest.raises(BadArchive) as caught:
        intake.prepare(archive, tmp_path / "out", limits)
    assert [detail.code for detail in caught.value.details] == ["unsafe_path", "bad_name"]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["gzip", "zip"])
def test_a_ten_gigabyte_bomb_is_refused_fast_and_in_little_memory(
    kind: str, tmp_path: Path
) -> None:
    bomb = ten_gibibytes_of_zeros()
    if kind == "zip":
        # As much as a 32-bit header can say; the directory alone condemns it.
        bomb = raw_zip([Entry(b"cat/a.png", packed=bomb[10:], size=4 * 2**30 - 2, crc=0)])
    archive = write(tmp_path / "upload", bomb)
    before = child_seconds()
    # The address space, of which the interpreter and its libraries take most, is held down too;
    # running out of it would be refused in other words.
    with pytest.raises(TooLarge, match="bombs") as caught:
        intake.prepare(archive, tmp_path / "out", UploadLimits(memory_bytes=640 * 2**20))
    assert caught.value.stable_code == "archive_too_large"
    assert child_seconds() - before < 5
    assert list((tmp_path / "out").iterdir()) == []


def test_a_child_out_of_memory_is_too_large(tmp_path: Path) -> None:
    pixels = np.zeros((9000, 9000, 3), np.uint8)
    files = {**HONEST, "cat/big.png": encode(pixels, compress_level=1)}
    archive = write(tmp_path / "upload", zip_bytes(files, 0))
    limits = UploadLimits(memory_bytes=512 * 2**20, ratio=10_000, image_pixels=10**9)
    with pytest.raises(TooLarge) as caught:
        intake.prepare(archive, tmp_path / "out", limits)
    assert caught.value.stable_code == "archive_too_large"
    assert list((tmp_path / "out").iterdir()) == []


def stand_in(tmp_path: Path, body: str) -> None:
    """A `core.data.child` that does something else."""
    package = tmp_path / "stand_in" / "core" / "data"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "child.py").write_text("import json, os, resource, signal, sys, time\n" + body)


def prepare_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, limits: UploadLimits
) -> AppError:
    stand_in(tmp_path, body)
    environment = sandbox.environment() | {"PYTHONPATH": str(tmp_path / "stand_in")}
    monkeypatch.setattr(sandbox, "environment", lambda: environment)
    archive = write(tmp_path / "upload", zip_bytes(HONEST))
    with pytest.raises(AppError) as caught:
        intake.prepare(archive, tmp_path / "out", limits, on_progress=lambda _: None)
    assert list((tmp_path / "out").iterdir()) == []
    return caught.value


# Complete and well typed, but its hash would climb out of the object store.
FORGED = {
    "answer": {
        "sha256": "../../etc",
        "classes": ["a", "b"],
        "train_counts": [1, 1],
        "test_counts": [0, 0],
        "channels": 1,
        "resolution": 32,
        "report": {
            "problems": [],
            "images_seen": 2,
            "images_kept": 2,
            "exact_duplicates": 0,
            "split": "given",
            "split_seed": None,
            "modes": {},
            "sizes": {},
        },
    }
}


@pytest.mark.parametrize(
    ("body", "kind", "code"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", TooLarge, "archive_too_large"),
        ("open('half', 'w').close(); os.abort()", InvalidInput, "unreadable_archive"),
        ("sys.exit(3)", InvalidInput, "unreadable_archive"),
        ("print('nonsense')\nprint('[1]')", InvalidInput, "unreadable_archive"),
        ("print(json.dumps({'contents': {'sha256': 1}}))", InvalidInput, "unreadable_archive"),
        (f"print(json.dumps({FORGED}))", InvalidInput, "unreadable_archive"),
        ("print(json.dumps({'error': {'kind': 'TooLarge'}}))", InvalidInput, "unreadable_archive"),
        ("print(json.dumps({'progress': 'much'}))", InvalidInput, "unreadable_archive"),
        (
            "resource.setrlimit(resource.RLIMIT_CPU, (1, 1))\nwhile True: pass",
            TooLarge,
            "archive_too_large",
        ),
    ],
)  # fmt: skip
def test_a_child_that_dies_is_a_refusal(
    body: str,
    kind: type[AppError],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limits: UploadLimits,
) -> None:
    error = prepare_with(tmp_path, monkeypatch, "sys.stdin.readline()\n" + body, limits)
    assert isinstance(error, kind)
    assert error.stable_code == code


def test_what_a_dead_child_said_last_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: UploadLimits
) -> None:
    with capture_logs() as lines:
        prepare_with(tmp_path, monkeypatch, "sys.exit('no such decoder')", limits)
    (line,) = lines
    assert (line["event"], line["status"]) == ("confined_child_died", 1)
    assert line["stderr"].strip() == "no such decoder"


def test_a_child_that_sleeps_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = time.monotonic()
    error = prepare_with(tmp_path, monkeypatch, "time.sleep(60)", UploadLimits(cpu_seconds=1))
    assert isinstance(error, TooLarge)
    assert time.monotonic() - started < 20


def test_a_failing_listener_stops_the_child_and_leaves_nothing(
    tmp_path: Path, limits: UploadLimits
) -> None:
    def refuse(progress: Progress) -> None:
        raise RuntimeError("the page was closed")

    archive = write(tmp_path / "upload", zip_bytes(HONEST))
    with pytest.raises(RuntimeError, match="page was closed"):
        intake.prepare(archive, tmp_path / "out", limits, on_progress=refuse)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_in_use_is_refused_and_untouched(tmp_path: Path, limits: UploadLimits) -> None:
    archive = write(tmp_path / "upload", zip_bytes(HONEST))
    with pytest.raises(ValueError, match="must be empty"):
        intake.prepare(archive, tmp_path, limits)
    assert archive.exists()


CONFINED = """
import json, os, resource, socket, sys
from core.config import UploadLimits
from core.data.confinement import confine
confine(UploadLimits(memory_bytes=2**30, cpu_seconds=7), parent=os.getppid())
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "as": resource.getrlimit(resource.RLIMIT_AS)[1],
    "cpu": resource.getrlimit(resource.RLIMIT_CPU)[1],
    "core": resource.getrlimit(resource.RLIMIT_CORE)[1],
    "files": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
    "privileges": status["NoNewPrivs"].strip(),
    "network": [name for _, name in socket.if_nameindex()],
}))
"""


def test_confinement_takes_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONFINED], capture_output=True, check=True, cwd=Path.cwd()
    )
    held = json.loads(done.stdout)
    assert held["as"] == 2**30
    assert (held["cpu"], held["core"], held["files"]) == (7, 0, 128)
    assert held["privileges"] == "1"
    if subprocess.run(
        ["unshare", "-n", "true"], check=False, stderr=subprocess.DEVNULL
    ).returncode:
        return  # this machine lets nobody leave the network
    assert held["network"] == ["lo"]


def test_an_orphan_ends_at_once() -> None:
    code = CONFINED.replace("parent=os.getppid()", "parent=1")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_the_child_gets_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSTART_STORAGE__SECRET_KEY", "canary")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    assert "canary" not in sandbox.environment().values()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "canary"


def test_the_serving_process_loads_no_decoder() -> None:
    code = (
        "import sys, core.data.intake, core.pipelines.ingest_dataset;"
        "print([m for m in ('torch', 'numpy', 'PIL', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stdout == b"[]\n"
