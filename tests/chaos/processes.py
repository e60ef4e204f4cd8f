"""The servers of a cluster, and how to wait for what it does."""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

from core.config import S3Storage
from tests.fixtures import postgres, redis, s3
from tests.fixtures.servers import UNTRUSTING, Identity, server_folder

PATIENCE = 300.0  # for a machine that has much else to do


@dataclass(frozen=True, slots=True)
class Servers:
    """One durable PostgreSQL, one Redis (or Valkey), and one S3 server if asked for."""

    postgres: postgres.OwnServer
    redis: redis.OwnServer
    s3: S3Storage | None = None


@contextlib.contextmanager
def servers(*, store: str = "local") -> Iterator[Servers]:
    """All of them, running; objects are kept in local files, or with "s3" in buckets."""
    identity = Identity.unprivileged()
    with contextlib.ExitStack() as stack:
        binaries = postgres.chosen_binaries(
            stack.enter_context(server_folder("chaos-binaries", identity))
        )
        folder = stack.enter_context(server_folder("chaos-postgres", identity))
        database = postgres.OwnServer(binaries, folder, identity)
        database.start()
        stack.callback(database.close)
        broker = stack.enter_context(redis.own_server())
        broker.start()
        storage = stack.enter_context(s3.own_server()) if store == "s3" else None
        yield Servers(database, broker, storage)


def until(
    condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE, every: float = 0.02
) -> float:
    """Wait until it is true; how long that took. Raises TimeoutError."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(every)
    return time.monotonic() - begun


def answers(url: str) -> bool:
    """Whether the service is ready."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=2, trust_env=False, verify=UNTRUSTING).is_success
    return False
