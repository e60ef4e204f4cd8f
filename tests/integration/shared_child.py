"""A child whose processes tell who they are: `python -m tests.integration.shared_child FOLDER`.

Where the folder holds `doom`, the second process of a job dies at as many batches as that says,
once. Where it holds `slowly`, each of its batches takes so many seconds.
"""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from core.domain.jobs import JobKind
from core.execution import child
from core.pipelines.context import Context


def find(kind: JobKind) -> child.Pipeline:
    pipeline, folder = child.find(kind), Path(sys.argv[1])

    def run(inputs: Any, context: Context) -> Any:
        rank = context.ranks.rank
        (folder / f"pid-{rank}").write_text(str(os.getpid()))
        if rank:
            haunt(context, folder)
        return pipeline(inputs, context)

    return run


def haunt(context: Context, folder: Path) -> None:
    """Have it happen at this process's next signs of life."""
    batches = 0

    def alive() -> None:
        nonlocal batches
        batches += 1
        if (folder / "doom").exists() and batches == int((folder / "doom").read_text()):
            (folder / "doom").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / "slowly").exists():
            time.sleep(float((folder / "slowly").read_text()))

    context.alive = alive  # type: ignore[method-assign]


if __name__ == "__main__":
    child.main(find)
