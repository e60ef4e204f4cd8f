"""Claims until nothing waits, and prints what it got: `python -m tests.chaos.claimer NAME`.

The database is named by HEADSTART_DATABASE_URL. It says that it is ready, and begins when its
standard input ends.
"""

import sys

from core.config import Settings
from core.db.sessions import Sessions
from core.domain.identity import DEFAULT
from core.domain.jobs import QueueName
from core.services import jobs
from tests.chaos import mutants

if __name__ == "__main__":
    mutants.mutate()
    sessions = Sessions(Settings().database).within(DEFAULT)
    sessions.check()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    while True:
        with sessions.begin() as session:
            job = jobs.claim(session, queue=QueueName.CPU, owner=sys.argv[1], lease_seconds=600)
        if job is None:
            break
        sys.stdout.write(f"{job.id}\n")
