"""A stand-in for `docker compose`: the file's services as processes on loopback.

`up` starts what the file's cluster is made of, told by the `.env` of the folder; `exec` and `run`
start a command where a container of that service would, in its environment; `down` ends it all.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.unit.deployment import compose

STATE, LOG = Path(".cluster.json"), Path(".cluster.log")
PORT, OWNER = "CLUSTER_PORT", "CLUSTER_OWNER"  # what the environment says: where, and for whom


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `docker compose` is asked; its exit status."""
    told = parsed(arguments)
    if told.does == "up":
        return _up(told.profile)
    if told.does == "down":
        return _down()
    environment = json.loads(STATE.read_text("utf-8"))["told"][told.service]
    return subprocess.run(told.command, env=environment, check=False).returncode


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for, of the file's own services and profiles. Raises SystemExit."""
    services = list(compose.load()["services"])
    profiles = {name for each in compose.load()["services"].values() for name in _profiles(each)}
    parser = argparse.ArgumentParser(prog="docker", allow_abbrev=False)
    compose_ = parser.add_subparsers(required=True).add_parser("compose", allow_abbrev=False)
    compose_.add_argument("--profile", action="append", choices=sorted(profiles), default=[])
    does = compose_.add_subparsers(dest="does", required=True)
    up = does.add_parser("up", allow_abbrev=False)
    for option in ("--build", "--detach"):
        up.add_argument(option, action="store_true", required=True)
    does.add_parser("down", allow_abbrev=False)
    exec_, run = (does.add_parser(name, allow_abbrev=False) for name in ("exec", "run"))
    exec_.add_argument("-T", action="store_true")
    run.add_argument("--rm", action="store_true", required=True)
    for each in (exec_, run):
        each.add_argument("service", choices=services)
        each.add_argument("command", nargs=argparse.REMAINDER)
    return parser.parse_args(arguments)


def _up(profiles: Sequence[str]) -> int:
    if list(profiles) != ["cpu"]:
        raise SystemExit("this machine has the profile cpu alone")
    if STATE.exists():
        _down()  # what is built anew is started anew
    with LOG.open("w") as log:
        made = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.staying"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    while not STATE.exists() and made.poll() is None:
        time.sleep(0.1)
    if not STATE.exists():
        sys.stderr.write(LOG.read_text("utf-8"))
        return 1
    return 0


def _down() -> int:
    os.kill(json.loads(STATE.read_text("utf-8"))["pid"], signal.SIGTERM)
    while STATE.exists():
        time.sleep(0.1)
    return 0


def _profiles(service: Mapping[str, object]) -> list[str]:
    found = service.get("profiles", [])
    assert isinstance(found, list)
    return found


if __name__ == "__main__":
    sys.exit(main())
