"""A child that dies as it works: `python -m tests.integration.doomed_child FOLDER`.

Known networks are tiny ones to it. It kills itself once at every checkpoint whose number is the
name of a file in the folder, right after that was kept.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from torchvision import models

from core.domain.jobs import JobKind
from core.execution import child
from core.pipelines.context import Context
from tests.unit.pipelines.test_prune_architecture import tiny


def find(kind: JobKind) -> child.Pipeline:
    pipeline = child.find(kind)

    def run(inputs: Any, context: Context) -> Any:
        keep = context.checkpoint

        def checkpoint(step: int, path: Path) -> None:
            keep(step, path)
            doom = Path(sys.argv[1]) / str(step)
            if doom.exists():
                doom.unlink()
                os.kill(os.getpid(), signal.SIGKILL)

        context.checkpoint = checkpoint  # type: ignore[method-assign]
        return pipeline(inputs, context)

    return run


if __name__ == "__main__":
    models.get_model = tiny
    child.main(find)
