"""`python -m worker --queues cpu,gpu`: `celery -A worker.app worker` without the small talk."""

import sys
from collections.abc import Sequence

from celery import Celery

from core.config import Settings
from worker.factory import create_app

# Workers know one another through the database alone; without these a start is a second sooner.
QUIET = ("--without-mingle", "--without-gossip")


def main(app: Celery, arguments: Sequence[str]) -> None:
    """Work until told to stop."""
    app.worker_main(["worker", *QUIET, *arguments])


if __name__ == "__main__":
    main(create_app(Settings()), sys.argv[1:])
