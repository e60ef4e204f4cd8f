"""A cluster that stays when who started it has ended: what `docker compose up --detach` leaves."""

import json
import os
import signal
import sys
import time
from pathlib import Path

import psutil

from tests.cluster.docker import OWNER, PORT, STATE
from tests.cluster.running import API, PREPARE, WORKER, cluster


def serve() -> None:
    """Be the cluster that this folder's `.env` tells of, until SIGTERM or the end of the tests."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    given = dict(
        line.split("=", 1)
        for line in Path(".env").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    given["HEADSTART_PORT"] = os.environ[PORT]
    try:
        with cluster(Path("cluster"), workers=1, given=given) as made:
            names = {API: API, WORKER: "worker-1", PREPARE: PREPARE}
            told = {service: made.environment(service, name) for service, name in names.items()}
            STATE.with_suffix(".new").write_text(json.dumps({"pid": os.getpid(), "told": told}))
            STATE.with_suffix(".new").rename(STATE)
            while psutil.pid_exists(int(os.environ[OWNER])):
                time.sleep(0.5)
    finally:
        STATE.unlink(missing_ok=True)


if __name__ == "__main__":
    serve()
