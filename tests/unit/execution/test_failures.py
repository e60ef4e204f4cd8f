"""Which ends of an attempt are tried again, and what a failure is called."""

import errno
import signal
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import torch
from safetensors import SafetensorError

from core.domain.identity import DEFAULT
from core.domain.jobs import Job, JobId, JobKind, JobState, QueueName
from core.errors import AppError, CorruptObject, Diverged, NotFound, Unavailable
from core.execution import failures, host_memory
from core.execution.failures import FAILURES, Retry, of_error, of_exit, verdict
from core.storage import local

NOW = datetime(2026, 1, 1, tzinfo=UTC)
JOB = Job(
    id=JobId(UUID(int=7)),
    project_id=DEFAULT,
    kind=JobKind.SEARCH,
    queue=QueueName.GPU,
    state=JobState.RUNNING,
    stage="search",
    progress=0.5,
    eta_seconds=None,
    attempt=1,
    max_attempts=3,
    fence=1,
    cancel_requested=False,
    spec={},
    result=None,
    error_code=None,
    error_message=None,
    resume_reason=None,
    cost_seconds=0.0,
    created_at=NOW,
    started_at=NOW,
    finished_at=None,
    lease_owner="w",
    lease_until=NOW,
    dataset_id=None,
)
GIB = 1024**3


@pytest.mark.parametrize(
    ("code", "first", "last"),
    [
        ("internal", Retry.FINAL, Retry.FINAL),
        ("diverged", Retry.FINAL, Retry.FINAL),
        ("corrupt_object", Retry.FINAL, Retry.FINAL),
        ("not_found", Retry.FINAL, Retry.FINAL),
        ("never heard of", Retry.FINAL, Retry.FINAL),
        ("out_of_memory", Retry.FINAL, Retry.FINAL),
        ("deadline_passed", Retry.FINAL, Retry.FINAL),
        ("host_oom", Retry.CHARGED, Retry.FINAL),
        ("gpu_oom", Retry.CHARGED, Retry.FINAL),
        ("device_fault", Retry.CHARGED, Retry.FINAL),
        ("device_lost", Retry.UNCHARGED, Retry.UNCHARGED),
        ("stalled", Retry.CHARGED, Retry.FINAL),
        ("worker_lost", Retry.CHARGED, Retry.FINAL),
        ("unavailable", Retry.UNCHARGED, Retry.UNCHARGED),
        ("storage_full", Retry.UNCHARGED, Retry.UNCHARGED),
        ("drained", Retry.UNCHARGED, Retry.UNCHARGED),
    ],
)
def test_what_follows_the_first_and_the_last_attempt(code: str, first: Retry, last: Retry) -> None:
    assert verdict(code, JOB) is first
    assert verdict(code, replace(JOB, attempt=2)) is first
    assert verdict(code, replace(JOB, attempt=3)) is last
    assert verdict(code, replace(JOB, attempt=3, max_attempts=4)) is first


@pytest.mark.parametrize("code", ["host_oom", "gpu_oom"])
def test_a_machine_without_memory_twice_in_a_row_is_enough(code: str) -> None:
    for before, expected in ((code, Retry.FINAL), ("drained", Retry.CHARGED)):
        assert verdict(code, replace(JOB, attempt=2, resume_reason=before)) is expected


def test_a_job_that_takes_device_after_device_along_is_charged() -> None:
    for claims, expected in ((2, Retry.UNCHARGED), (3, Retry.CHARGED)):
        assert verdict("device_lost", replace(JOB, fence=claims)) is expected
    assert verdict("device_lost", replace(JOB, fence=5, attempt=3)) is Retry.FINAL


@pytest.mark.parametrize("code", sorted(FAILURES))
def test_nothing_but_a_drain_goes_on_for_ever(code: str) -> None:
    job, claims = JOB, 0
    while (retry := verdict(code, job)) is not Retry.FINAL and claims < 1_000:
        claims += 1
        job = replace(job, fence=job.fence + 1, resume_reason=code)
        job = replace(job, attempt=job.attempt + (retry is Retry.CHARGED))
    assert (claims < 120) is (code != "drained")


@pytest.mark.parametrize(("code", "seconds"), [("unavailable", 300), ("storage_full", 3 * 3_600)])
def test_what_is_not_the_jobs_doing_is_borne_for_long(code: str, seconds: float) -> None:
    patience = FAILURES[code].patience
    assert patience is not None
    delays = (0.0, 30.0, 120.0)  # the settings' own
    assert sum(delays[min(claim, 3) - 1] for claim in range(1, patience)) >= seconds


def raised_from(error: AppError, cause: Exception) -> AppError:
    error.__cause__ = cause
    return error


def said_by_cuda(words: str) -> Exception:
    return torch.AcceleratorError(f"CUDA error: {words}\nCUDA kernel errors might be reported")


NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NO_ROOM, "storage_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage_full"),
        (raised_from(Unavailable("The object cannot be stored."), NO_ROOM), "storage_full"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "storage_full"),
        (SafetensorError("Error while serializing: I/O error: (os error 5)"), "internal"),
        (OSError(errno.EACCES, "Permission denied"), "internal"),
        (Unavailable("The store does not answer."), "unavailable"),
        (Diverged("The loss is not finite."), "diverged"),
        (CorruptObject("Not the bytes."), "corrupt_object"),
        (NotFound("Gone."), "not_found"),
        (AppError("Precise.", code="very_precise"), "very_precise"),
        (MemoryError(), "out_of_memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "gpu_oom"),
        (said_by_cuda("out of memory"), "gpu_oom"),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), "gpu_oom"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "host_oom"),
        (said_by_cuda("unspecified launch failure"), "device_fault"),
        (said_by_cuda("an illegal memory access was encountered"), "device_fault"),
        (said_by_cuda("uncorrectable ECC error encountered"), "device_lost"),
        (said_by_cuda("words of next year's driver"), "device_fault"),
        (RuntimeError("No CUDA GPUs are available"), "device_lost"),
        (RuntimeError("Found no NVIDIA driver on your system."), "device_lost"),
        (RuntimeError("No CUDA-capable device is detected"), "device_lost"),
        (
            RuntimeError("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus"),
            "device_lost",
        ),
        (said_by_cuda("device-side assert triggered"), "internal"),
        (said_by_cuda("invalid configuration argument"), "internal"),
        (said_by_cuda("no kernel image is available for execution"), "internal"),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), "internal"),
        (ValueError("the xid of a row"), "internal"),
    ],
)
def test_what_a_failure_is_called(error: Exception, code: str) -> None:
    called, words = of_error(error)
    assert called == code
    own = isinstance(error, AppError) and code != "storage_full"
    assert words == (error.message if own else FAILURES[code].words)  # type: ignore[attr-defined]


def test_torch_without_memory_is_known_by_what_it_really_says() -> None:
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert of_error(raised.value)[0] == "out_of_memory"


def test_a_store_without_room_is_known_through_the_stores_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        with open("/dev/full", "wb", buffering=0) as device:
            device.write(b"0")

    monkeypatch.setattr(local, "_write_durably", full)
    (tmp_path / "file").write_text("content")
    with pytest.raises(Unavailable) as raised:
        local.LocalStore(tmp_path / "objects").put("default/key", tmp_path / "file")
    assert of_error(raised.value) == ("storage_full", FAILURES["storage_full"].words)


def test_an_error_that_is_its_own_cause_is_looked_at_once() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__context__, second.__context__ = second, first
    assert of_error(first)[0] == "internal"


@pytest.mark.parametrize(
    ("status", "peak", "limit", "code"),
    [
        (-signal.SIGKILL, 15 * GIB, 16 * GIB, "host_oom"),
        (-signal.SIGKILL, 8 * GIB, 16 * GIB, "worker_lost"),
        (-signal.SIGKILL, 15 * GIB, None, "worker_lost"),
        (-signal.SIGSEGV, 15 * GIB, 16 * GIB, "worker_lost"),
        (1, 15 * GIB, 16 * GIB, "worker_lost"),
    ],
)
def test_only_a_large_process_was_killed_for_its_memory(
    status: int, peak: int, limit: int | None, code: str
) -> None:
    assert of_exit(status, peak_bytes=peak, limit_bytes=limit) == code


def laid_out(root: Path, lines: str, **limits: str) -> dict[str, Any]:
    (root / "proc" / "self").mkdir(parents=True)
    (root / "proc" / "self" / "cgroup").write_text(lines)
    for place, limit in limits.items():
        path = root / "cgroup" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    return {"proc": root / "proc", "cgroups": root / "cgroup"}


@pytest.mark.parametrize(
    ("lines", "limits", "expected"),
    [
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "4096"}, 4096),
        ("0::/a/b\n", {"a/b/memory.max": "1024", "a/memory.max": "4096"}, 1024),
        ("0::/\n", {"memory.max": "2048"}, 2048),
        ("5:cpu:/\n4:memory:/j\n", {"memory/j/memory.limit_in_bytes": "512"}, 512),
        # A container that sees the host's path and its own files.
        ("4:cpu,memory:/docker/1\n", {"memory/memory.limit_in_bytes": "256"}, 256),
    ],
)
def test_the_narrowest_group_is_the_limit(
    tmp_path: Path, lines: str, limits: dict[str, str], expected: int
) -> None:
    assert host_memory.limit_bytes(**laid_out(tmp_path, lines, **limits)) == expected


def test_without_a_limit_it_is_the_machines_memory(tmp_path: Path) -> None:
    meminfo = Path("/proc/meminfo").read_text().split()
    total = int(meminfo[meminfo.index("MemTotal:") + 1]) * 1024
    places = laid_out(tmp_path, "0::/a\n4:memory:/\n", **{"a/memory.max": "max"})
    assert host_memory.limit_bytes(**places) == pytest.approx(total, rel=0.1)


def test_the_codes_are_those_that_the_services_use() -> None:
    from core.services import moves

    assert failures.WORKER_LOST == moves.WORKER_LOST
