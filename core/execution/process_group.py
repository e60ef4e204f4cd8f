"""How the processes of one job find each other: by a file of theirs, over the loopback alone."""

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import AppError
from core.execution import failures

if TYPE_CHECKING:
    from core.nas.ranks import Ranks

# One may wait for as long as the first works alone. Whoever hangs gives no sign of life.
PATIENCE = timedelta(days=30)


def join(*, rank: int, size: int, device: str, folder: Path) -> "Ranks":
    """The process group of this job, once all have joined; nobody's for a single process.

    Args:
        rank: This process, from 0.
        size: How many there are.
        device: Where they compute: `cuda` is a GPU for each, by rank, among those that CUDA shows.
        folder: Empty, the attempt's own, and the same for all.

    Raises:
        AppError: `device_lost` where CUDA shows fewer GPUs than there are processes.
    """
    from core.nas.ranks import ALONE, ProcessGroup

    if size == 1:
        return ALONE
    import torch
    from torch import distributed

    backend = "gloo"
    if device == "cuda":
        if (shown := torch.cuda.device_count()) < size:
            message = f"{size} processes compute this job, each on a GPU; CUDA shows {shown}."
            raise AppError(message, code=failures.DEVICE_LOST)
        torch.cuda.set_device(rank)
        backend = "cpu:gloo,cuda:nccl"
    # Else they listen at the address of the machine's name.
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ |= {"GLOO_SOCKET_IFNAME": loopback, "NCCL_SOCKET_IFNAME": loopback}
    distributed.init_process_group(
        backend,
        init_method=f"file://{folder / 'rendezvous'}",
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    return ProcessGroup()
