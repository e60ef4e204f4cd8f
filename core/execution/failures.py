"""Every way an attempt may end without a result, by stable code: what follows, and the words.

The one place that decides whether a job is tried again. Nothing here asks the world; what was
seen of it (an exception, an exit status, a peak of memory) is an argument.
"""

import errno
import signal
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from core.domain.jobs import Job
from core.errors import (
    AppError,
    CorruptObject,
    DeadlinePassed,
    DeletedMeanwhile,
    Diverged,
    Unavailable,
)

DEVICE_FAULT = "device_fault"
DEVICE_LOST = "device_lost"
DRAINED = "drained"
GPU_OOM = "gpu_oom"
HOST_OOM = "host_oom"
INTERNAL = AppError.code
OUT_OF_MEMORY = "out_of_memory"
STALLED = "stalled"
STORAGE_FULL = "storage_full"
UNAVAILABLE = Unavailable.code
WORKER_LOST = "worker_lost"

NEAR = 0.8  # of the memory there is: a process killed above it was most likely killed for it


class Retry(StrEnum):
    """What follows the end of an attempt."""

    FINAL = "final"  # the job fails: another attempt would end the same way
    CHARGED = "charged"  # it is tried again, and this attempt counts
    UNCHARGED = "uncharged"  # it is tried again, and this attempt counts for nothing


@dataclass(frozen=True, slots=True)
class Failure:
    """How one code is answered.

    `words` are for people, where the failure brings none. `in_a_row` attempts may end with the
    code one after the other; then it is final. `patience` bounds what is never charged: from that
    many claims of the job on, an attempt counts. `waits` says whether delays lie between attempts.
    """

    retry: Retry
    words: str = ""
    in_a_row: int | None = None
    patience: int | None = None
    waits: bool = True


FAILURES: Mapping[str, Failure] = {
    INTERNAL: Failure(Retry.FINAL),
    Diverged.code: Failure(Retry.FINAL),
    DeadlinePassed.code: Failure(Retry.FINAL),  # a new attempt would be later still
    CorruptObject.code: Failure(Retry.FINAL),  # a checkpoint is passed over instead
    OUT_OF_MEMORY: Failure(
        Retry.FINAL, "The work needed more memory than there is; try a smaller batch or space."
    ),
    HOST_OOM: Failure(
        Retry.CHARGED,
        "The machine ran out of memory; try a smaller batch or space, or fewer jobs at once.",
        in_a_row=2,  # its neighbours may have been to blame once
    ),
    GPU_OOM: Failure(
        Retry.CHARGED,
        "The GPU ran out of memory, with half the batch too; try a smaller batch or space.",
        in_a_row=2,  # the second attempt has half the batch
    ),
    # The next attempt is given what there is by then, and does without it or says what is missing.
    DeletedMeanwhile.code: Failure(
        Retry.CHARGED, "A dataset that the work needs was deleted meanwhile.", waits=False
    ),
    DEVICE_FAULT: Failure(Retry.CHARGED, "The accelerator stopped working under the job."),
    # Its worker claims no more of them; a job that takes device after device along is charged.
    DEVICE_LOST: Failure(
        Retry.UNCHARGED, "The accelerator was lost under the job.", patience=3, waits=False
    ),
    STALLED: Failure(
        Retry.CHARGED, "The work gave no sign of life for too long, and its process was ended."
    ),
    WORKER_LOST: Failure(Retry.CHARGED, "The computing process was lost."),
    # Not the job's doing, and longer than its attempts would last: with the default delays a
    # store may be away for a quarter of an hour and a disk full for three hours.
    UNAVAILABLE: Failure(
        Retry.UNCHARGED, "The database or the object store did not answer.", patience=10
    ),
    STORAGE_FULL: Failure(
        Retry.UNCHARGED,
        "There was no room left on a disk of the worker or the store.",
        patience=100,
    ),
    DRAINED: Failure(Retry.UNCHARGED, waits=False),
}
# Whatever else the product says of a job (`not_found`, `invalid_input`, ...) stays true.
OTHERS = Failure(Retry.FINAL)

# What torch and the driver say of a device that no new process could use either...
LOST_DEVICE = (
    "uncorrectable ecc error",
    "uncorrectable nvlink error",
    "no cuda-capable device",
    "no cuda gpus are available",
    "found no nvidia driver",
    "cuda unknown error",
    "devices unavailable",
    "device(s) is/are busy or unavailable",
    "device lost",
    "gpu is lost",
    "fallen off the bus",
    "nvrm: xid",
)
# ... and of one that is broken until its process ends.
FAULTY_DEVICE = (
    "unspecified launch failure",
    "illegal memory access",
    "misaligned address",
    "launch timed out",
    "hardware stack error",
    "driver shutting down",
)
# What it says of the program: that would come again.
OWN_FAULTS = ("device-side assert", "invalid ", "no kernel image", "not supported", "too many")
# Said without a class of its own when an allocation fails: on the CPU ...
NO_MEMORY = ("DefaultCPUAllocator",)
# ... and on a GPU, by torch, the driver, cuDNN or cuBLAS.
NO_GPU_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def of_code(code: str) -> Failure:
    """How a code is answered."""
    return FAILURES.get(code, OTHERS)


def verdict(code: str, job: Job) -> Retry:
    """What follows when this attempt at the job ends with the code."""
    failure = of_code(code)
    retry = failure.retry
    if retry is Retry.UNCHARGED and failure.patience and job.fence >= failure.patience:
        retry = Retry.CHARGED
    if retry is Retry.CHARGED and job.attempt >= job.max_attempts:
        return Retry.FINAL
    if failure.in_a_row == 2 and job.resume_reason == code:
        return Retry.FINAL
    return retry


def of_error(error: Exception) -> tuple[str, str]:
    """The code and the words of an exception; what nobody foresaw is `internal` and says nothing.

    Classes of torch and safetensors are known by name: neither may be loaded.
    """
    if _is_full_disk(error):
        code = STORAGE_FULL
    elif isinstance(error, AppError):
        return error.stable_code, error.message
    elif _is_gpu_out_of_memory(error):
        code = GPU_OOM
    elif _is_out_of_memory(error):
        code = OUT_OF_MEMORY
    elif isinstance(error, OSError) and error.errno == errno.ENOMEM:
        code = HOST_OOM
    else:
        code = _of_device(error) or INTERNAL
    return code, of_code(code).words


def of_exit(status: int, *, peak_bytes: int, limit_bytes: int | None) -> str:
    """The code of a process that ended without a last word and that nobody of ours has killed."""
    starved = limit_bytes is not None and peak_bytes >= NEAR * limit_bytes
    return HOST_OOM if status == -signal.SIGKILL and starved else WORKER_LOST


def _is_full_disk(error: BaseException) -> bool:
    return any(
        (isinstance(cause, OSError) and cause.errno in NO_ROOM)
        or (
            type(cause).__name__ == "SafetensorError"
            and any(f"(os error {number})" in str(cause) for number in NO_ROOM)
        )
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it was raised from, or while handling."""
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or _says(error, NO_MEMORY)


def _is_gpu_out_of_memory(error: Exception) -> bool:
    return type(error).__name__ == "OutOfMemoryError" or _says(error, NO_GPU_MEMORY)


def _of_device(error: Exception) -> str | None:
    """The code of an error that the device is to blame for."""
    if _says(error, OWN_FAULTS):
        return None
    if _says(error, LOST_DEVICE):
        return DEVICE_LOST
    faulty = type(error).__name__ == "AcceleratorError" or _says(error, FAULTY_DEVICE)
    return DEVICE_FAULT if faulty else None


def _says(error: Exception, words: Iterable[str]) -> bool:
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(each.lower() in said for each in words)
