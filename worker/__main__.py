"""`python -m worker --queues cpu,gpu`: the same as `celery -A worker.app worker`."""

import sys

from worker.app import app

if __name__ == "__main__":
    app.worker_main(["worker", *sys.argv[1:]])
