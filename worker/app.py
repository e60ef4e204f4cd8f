"""The application that `celery -A worker.app worker` and `python -m worker` start.

Either takes `--queues cpu,gpu`. One process with the default pool computes one job at a time, in
a child of its own: start one per GPU, or `--pool threads --concurrency N` for several on one host.
Not `prefork`: its processes would not hear that the worker drains.
"""

from core.config import Settings
from worker.factory import create_app

app = create_app(Settings())
