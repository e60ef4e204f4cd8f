"""GPUs are found by asking nvidia-smi, and named by index or UUID."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import InvalidInput, Unavailable
from core.execution import gpus
from core.execution.gpus import Gpu, chosen, devices

GIB = 1024**3
TWO = (
    Gpu(0, "GPU-aaaa1111-0", "NVIDIA H100 80GB HBM3", "580.65.06", 80 * GIB),
    Gpu(1, "GPU-aaaa2222-1", "Some, Card", "580.65.06", None),
)


def smi(folder: Path, script: str) -> str:
    """A program of that name, in a folder to be put on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(folder)


def test_what_the_driver_says_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    says = "\n".join(
        [
            f'printf "%s\\n" "$@" > {tmp_path}/asked',
            'echo "0, GPU-aaaa1111-0, NVIDIA H100 80GB HBM3, 580.65.06, 81920"',
            'echo "1, GPU-aaaa2222-1, Some, Card, 580.65.06, [N/A]"',
        ]
    )
    monkeypatch.setenv("PATH", smi(tmp_path, says))
    assert devices() == TWO
    assert (tmp_path / "asked").read_text().split("\n")[0].startswith("--query-gpu=")


def test_without_a_driver_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert devices() == ()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", "mismatch"),
        ("exit 9", "failed: 9"),
        ("echo nonsense", "nonsense"),
        ("exec sleep 60", "does not answer"),
    ],
)
def test_a_driver_that_cannot_say_is_not_taken_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setenv("PATH", f"{smi(tmp_path, script)}:/usr/bin:/bin")
    monkeypatch.setattr(gpus, "ANSWER_SECONDS", 1.0)
    with pytest.raises(Unavailable, match=words):
        devices()


@pytest.mark.parametrize(
    ("wanted", "seen", "meant"),
    [
        ("all", None, (0, 1)),
        (" ALL ", None, (0, 1)),
        ("all", "1", (1,)),
        ("all", "GPU-aaaa2", (1,)),
        ("none", None, ()),
        ("1", None, (1,)),
        ("1, 0", None, (1, 0)),
        ("GPU-aaaa1111-0", None, (0,)),
        ("GPU-aaaa2,0", "1", (1, 0)),
    ],
)
def test_which_are_meant(wanted: str, seen: str | None, meant: tuple[int, ...]) -> None:
    environment = {} if seen is None else {gpus.VISIBLE: seen}
    assert chosen(wanted, TWO, environment) == tuple(TWO[index].uuid for index in meant)


def test_a_part_of_a_gpu_is_taken_as_it_is() -> None:
    assert chosen("MIG-7,0", TWO, {}) == ("MIG-7", TWO[0].uuid)


@pytest.mark.parametrize(
    ("wanted", "seen", "words"),
    [
        ("2", None, "'2' is no GPU of this machine, which has: 0 .GPU-aaaa1111-0, NVIDIA H100"),
        ("GPU-bbbb", None, "no GPU"),
        ("GPU-aaaa", None, "more than one"),
        ("0,GPU-aaaa1", None, "named twice"),
        ("0;1", None, "'0;1' is no GPU"),
        (",", None, "names no GPU"),
        ("all", "", "shows no GPU"),
    ],
)
def test_what_cannot_be_meant_is_refused(wanted: str, seen: str | None, words: str) -> None:
    environment = {} if seen is None else {gpus.VISIBLE: seen}
    with pytest.raises(InvalidInput, match=words):
        chosen(wanted, TWO, environment)


def test_all_of_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="HEADSTART_WORKER_GPUS=none"):
        chosen("all", (), {})


def test_finding_them_loads_no_cuda() -> None:
    program = "import sys; from core.execution import gpus; gpus.devices(); print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert not {"torch", "ctypes"} & set(said.stdout.split())
