"""The packed file of another resolution, made of the stored originals by a confined child.

They are what a stranger uploaded, and a decoder that took one size may stumble at another.
"""

from collections.abc import Callable
from pathlib import Path

from core.config import UploadLimits
from core.data import sandbox


def repack(
    originals: Path,
    target: Path,
    limits: UploadLimits,
    *,
    rows: int,
    resolution: int,
    channels: int,
    heard: Callable[[], None] = lambda: None,
) -> None:
    """Write the `rows` images at a resolution to `target`; `heard` is called in between.

    Raises as `core.data.sandbox.run` does.
    """
    # Of any size that its resolution wants: who asked for that is no stranger.
    size = rows * channels * resolution**2
    roomy = limits.model_copy(update={"expanded_bytes": max(limits.expanded_bytes, size)})
    terms = {
        "originals": str(originals.absolute()),
        "target": str(target.absolute()),
        "resolution": resolution,
        "channels": channels,
    }
    sandbox.run("repack", terms, roomy, folder=target.parent, on_progress=lambda _: heard())
    if not target.is_file() or target.is_symlink():
        raise sandbox.unreadable()
