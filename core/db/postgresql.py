"""How long a connection to PostgreSQL waits, and for what, before it is given up.

Without limits a server that vanished without a word (power, a cable, a firewall that drops) holds
a thread for the kernel's time, a quarter of an hour and more. Every unit of work here is short, so
each kind of silence has an end, in this order: the server ends the statement, the kernel finds the
peer gone, and last this process stops listening, for a peer whose kernel answers while nobody
behind it does. All end within the 45 s in which a worker may still compute without a beat.
"""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, Engine

T = TypeVar("T")

CONNECT_SECONDS = 5
# The longest statement of ours, a scan of every centre, takes a few seconds; also the longest wait
# for another's row lock.
STATEMENT_SECONDS = 15
# A transaction holds its locks for its owner's milliseconds of Python between two statements. One
# that was frozen must not keep its job's row from the others until its lease (60 s) is long over.
IDLE_SECONDS = 30
# Longer than a statement may take, so that a server that lives says itself what was wrong.
SILENCE_SECONDS = 20.0
# For a free connection of the pool. Fifteen that are all silent free themselves after 20 s.
POOL_SECONDS = 25.0
# The kernel's own search for a peer that is gone: the only one during migrations, and what closes
# pooled connections that nobody is listening to. In libpq's units: seconds, but milliseconds last.
KEEPALIVE = {
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


class Listener(psycopg.Connection[Any]):
    """A connection that closes itself when nothing at all is heard for `SILENCE_SECONDS`."""

    patient = False

    def wait(self, gen: PQGen[T], *args: Any, **options: Any) -> T:
        """As psycopg's, of which every statement, commit and rollback makes use."""
        return super().wait(gen if self.patient else self._listen(gen), *args, **options)

    def _listen(self, gen: PQGen[T]) -> PQGen[T]:
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > SILENCE_SECONDS:
                    self.close()
                    raise psycopg.OperationalError(f"silent for {SILENCE_SECONDS:g} s")
                wanted = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result


def arguments(url: URL) -> dict[str, Any]:
    """What to connect with; what the URL itself says about the same things counts instead."""
    limits = {
        "application_name": "headstart",
        "connect_timeout": CONNECT_SECONDS,
        **KEEPALIVE,
    }
    told = (
        f"-c statement_timeout={STATEMENT_SECONDS}s",
        f"-c idle_in_transaction_session_timeout={IDLE_SECONDS}s",
        *url.normalized_query.get("options", ()),  # the last word counts
    )
    ours = {name: value for name, value in limits.items() if name not in url.query}
    return {**ours, "options": " ".join(told)}


def listen(engine: Engine) -> None:
    """Let every connection of the engine be a `Listener`."""

    @event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, given: Any, named: dict[str, Any]) -> Listener:
        return Listener.connect(*given, **named)


def wait_for_ever(connection: Connection) -> None:
    """Take the limits off this connection, in its transaction, and keep it out of the pool."""
    driver: Any = connection.connection.dbapi_connection
    driver.patient = True
    connection.detach()
    for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
        connection.exec_driver_sql(f"SET LOCAL {name} = 0")
