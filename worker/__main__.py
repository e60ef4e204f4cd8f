"""`python -m worker --queues cpu,gpu`: `celery -A worker.app worker` without the small talk.

With HEADSTART_WORKER_GPUS it is one such worker for each GPU named (`worker.fleet`).
"""

import os
import sys
from collections.abc import Sequence

from celery import Celery

from core import bootstrap
from core.config import Settings
from core.errors import AppError
from core.execution import gpus
from worker import beat, fleet
from worker.factory import create_app

# Workers know one another through the database alone; without these a start is a second sooner.
QUIET = ("--without-mingle", "--without-gossip")


def main(app: Celery, arguments: Sequence[str]) -> None:
    """Work until told to stop."""
    app.worker_main(["worker", *QUIET, *arguments])


def start(settings: Settings, arguments: Sequence[str]) -> None:
    """Work as the settings say: in this process, or in one for each GPU."""
    fleet.follow_parent()
    app = create_app(settings)  # what it refuses, a fleet need not find out in every process
    if settings.worker_place is None:
        _man(settings, arguments)
    main(app, arguments)


def _man(settings: Settings, arguments: Sequence[str]) -> None:
    """Be a fleet to the end, if the settings name GPUs; or see none, if they say so."""
    beat.expect(settings.home, ())
    if not settings.worker_gpus:
        return
    meant = gpus.chosen(settings.worker_gpus, gpus.devices(), os.environ)
    if meant:
        bootstrap.configure_logging(settings.log_format)
        sys.exit(fleet.of(settings, meant, arguments).run())
    os.environ[gpus.VISIBLE] = ""  # for the children, which find out what there is


if __name__ == "__main__":
    try:
        start(Settings(), sys.argv[1:])
    except AppError as error:
        sys.exit(error.message)
