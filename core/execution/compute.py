"""The one place that settles how torch computes in a child: threads, determinism, device."""

import sys


def settle(*, threads: int) -> None:
    """Fix threads and determinism, if this process has loaded torch at all."""
    if "torch" not in sys.modules:
        return
    import torch

    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # Filling fresh memory costs time and hides nothing: our operations write before they read.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True


def device(wanted: str) -> str:
    """The torch device to compute on: `auto` is CUDA where there is any."""
    if wanted != "auto":
        return wanted
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
