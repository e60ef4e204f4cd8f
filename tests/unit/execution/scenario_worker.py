"""A worker whose children play a scenario: `celery -A` this module `worker`."""

import os
from pathlib import Path

from core.config import Settings
from tests.unit.execution.bench import scenario_command
from worker.factory import create_app

app = create_app(
    Settings(),
    child_command=scenario_command(os.environ["SCENARIO"], Path(os.environ["SCENARIO_FOLDER"])),
)
