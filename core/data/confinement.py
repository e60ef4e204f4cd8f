"""Take away from this process what reading an archive does not need.

Called by the child before it touches anything hostile, and before numpy starts its threads (a user
namespace can be entered by a single-threaded process only).
"""

import ctypes
import os
import resource
import signal

from core.config import UploadLimits
from core.errors import AppError, InvalidInput, TooLarge

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_OPEN_FILES = 128  # several archives, and what leads to the processes that decode them
# The packed images and row groups come on top of what was unpacked.
_OUTPUT_MARGIN = 1024**3
# What the limits end a process by, and a machine without memory.
_BY_LIMITS = {-signal.SIGKILL, -signal.SIGXCPU, -signal.SIGXFSZ}


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent ends; end at once if it has (on Linux only)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def confine(limits: UploadLimits, *, parent: int) -> None:
    """Limits on memory, CPU, file size and files; no core dumps, privileges or network.

    The process also dies with its parent (the process `parent`, which may already be gone).
    """
    die_with_parent(parent)
    libc = ctypes.CDLL(None, use_errno=True)
    # Linux only; elsewhere the resource limits below are what there is.
    if hasattr(libc, "prctl"):
        libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if hasattr(libc, "unshare") and libc.unshare(_CLONE_NEWNET):
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)  # not allowed everywhere: best effort
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.expanded_bytes + _OUTPUT_MARGIN),
        (resource.RLIMIT_NOFILE, _OPEN_FILES),
    ):
        _, hard = resource.getrlimit(kind)
        lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lower, lower))


def told_by(status: int) -> AppError:
    """What to tell of an archive whose confined reader ended with `status` and said nothing."""
    if status in _BY_LIMITS:
        return TooLarge(
            "Reading this archive takes more time or memory than one upload may use; upload "
            "fewer or smaller images.",
            code="archive_too_large",
        )
    return InvalidInput(
        "The archive could not be read; pack the images again and upload it again.",
        code="unreadable_archive",
    )
