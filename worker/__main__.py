"""`python -m worker --queues cpu,gpu`: `celery -A worker.app worker` without the small talk."""

import sys

from worker.app import app

# Workers know one another through the database alone; without these a start is a second sooner.
QUIET = ("--without-mingle", "--without-gossip")

if __name__ == "__main__":
    app.worker_main(["worker", *QUIET, *sys.argv[1:]])
