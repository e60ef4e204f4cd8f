"""A whole embedded process: `python -m tests.unit.execution.embedded_process SCENARIO FOLDER`.

Submits a job unless there is one, and ends when that has.
"""

import sys
import time
from pathlib import Path

from core.domain.identity import DEFAULT
from core.embedded import embedded
from core.services import jobs
from tests.unit.execution.bench import job_of, scenario_command, settings_for, submit

if __name__ == "__main__":
    scenario, folder = sys.argv[1], Path(sys.argv[2])
    settings = settings_for(folder / "home")
    with embedded(settings, child_command=scenario_command(scenario, folder)) as container:
        sessions = container.sessions.within(DEFAULT)
        with sessions.read() as session:
            known, _ = jobs.listing(session, limit=1)
        job_id = known[0].id if known else submit(sessions)
        if not known:
            container.queue.announce(job_id, job_of(sessions, job_id).queue)
        while not job_of(sessions, job_id).finished:
            time.sleep(0.02)
