"""The application that `celery -A worker.app worker` and `python -m worker` start.

Either takes `--queues cpu,gpu`. A worker computes one job at a time, in a child of its own: start
one per GPU, or `--concurrency N` for several jobs on one host.
"""

from core.config import Settings
from worker.factory import create_app

app = create_app(Settings())
