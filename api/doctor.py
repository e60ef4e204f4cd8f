"""What the service stands on, asked one by one: how it is, and what to do if that is not well."""

import importlib.metadata
import platform
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import redis
from sqlalchemy import func, make_url, select, text

from api.web import words
from core.config import S3Storage, Settings
from core.db import schema
from core.db.clock import now
from core.db.job_tables import JobRow, in_state
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import DEFAULT
from core.domain.jobs import JobState
from core.errors import AppError, InvalidInput, Unavailable
from core.execution import gpus
from core.execution.mlflow_server import Away, MlflowServer
from core.storage.select import store_of

GIB = 1024**3
LITTLE_BYTES, FEW_BYTES = 5 * GIB, GIB // 2
SKEW_SECONDS = 30.0  # leases are the database's; beyond this times on pages look odd
WAIT_SECONDS = 60.0
ANSWER_SECONDS = 5.0


class State(StrEnum):
    """How something is; a warning costs comfort, a failure costs the service."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """One finding: what was asked, how it is, and what to do about it."""

    what: str
    state: State
    said: str
    todo: str = ""


Check = Callable[[Settings], Iterator[Line]]


def examine(settings: Settings) -> tuple[Line, ...]:
    """Every check in turn; one that fails keeps no other from being made."""
    return tuple(line for check in CHECKS for line in _guarded(check, settings))


def _guarded(check: Check, settings: Settings) -> Iterator[Line]:
    what = check.__name__.strip("_").replace("_", " ")
    try:
        yield from check(settings)
    except AppError as error:
        yield Line(what, State.FAIL, error.message, ADVICE.get(what, ""))
    except Exception as error:  # noqa: BLE001 - of what nobody foresaw: the others still count
        said = f"the check itself failed ({type(error).__name__})"
        yield Line(what, State.FAIL, said, ADVICE.get(what, ""))


def _python(_: Settings) -> Iterator[Line]:
    fine = sys.version_info >= (3, 11)
    todo = "" if fine else "Install Python 3.11 or newer."
    yield Line("python", State.OK if fine else State.FAIL, platform.python_version(), todo)


def _torch(settings: Settings) -> Iterator[Line]:
    try:
        yield Line("torch", State.OK, importlib.metadata.version("torch"))
    except importlib.metadata.PackageNotFoundError:
        if settings.redis_url is not None:
            yield Line("torch", State.OK, "not installed: this machine serves, others compute")
            return
        todo = "Install headstart-nas[worker], or set HEADSTART_REDIS_URL and compute elsewhere."
        yield Line("torch", State.FAIL, "not installed: no job can be computed", todo)


def _home(settings: Settings) -> Iterator[Line]:
    home = settings.home.absolute()
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"probe")
    except OSError as error:
        todo = f"Let this user write to {home}, or set HEADSTART_HOME."
        yield Line("home", State.FAIL, f"cannot be written to: {error.strerror}", todo)
        return
    free = shutil.disk_usage(home).free
    said, todo = f"{words.size(free)} free", "Make room, or set HEADSTART_HOME to a larger disk."
    if free < FEW_BYTES:
        yield Line("home", State.FAIL, said, todo)
    elif free < LITTLE_BYTES:
        yield Line("home", State.WARN, said, todo)
    else:
        yield Line("home", State.OK, said)


def _database(settings: Settings) -> Iterator[Line]:
    url = make_url(settings.database)
    kind = url.get_backend_name()
    if kind == "sqlite" and not Path(str(url.database)).exists():
        yield Line("database", State.OK, "a SQLite file that the first start will make")
        return
    with _sessions(settings) as sessions:
        with sessions.read() as session:
            began = time.time()
            theirs: datetime = session.scalars(select(now())).one()
            ours = datetime.fromtimestamp((began + time.time()) / 2, UTC)
            version = ".".join(map(str, session.connection().dialect.server_version_info or ()))
        if schema.pending(settings.database):
            todo = "Run `headstart migrate`; if that helps nothing, it is of a newer version."
            yield Line("database", State.FAIL, "its schema is not this version's", todo)
            return
        yield Line("database", State.OK, f"{kind} {version}, schema up to date")
        yield _clock((theirs - ours).total_seconds())
        if kind == "postgresql":
            yield _vectors(sessions)
        yield from _workers(sessions)


def _clock(ahead: float) -> Line:
    said = f"the database's is {abs(ahead):.1f} s {'ahead' if ahead > 0 else 'behind'}"
    if abs(ahead) <= SKEW_SECONDS:
        return Line("clock", State.OK, said)
    todo = "Let NTP set both clocks. Jobs are safe: leases go by the database's clock alone."
    return Line("clock", State.WARN, said, todo)


def _vectors(sessions: Sessions) -> Line:
    with sessions.read() as session:
        query = text("SELECT extversion FROM pg_extension WHERE extname = 'vector'")
        version = session.scalars(query).first()
    if version is not None:
        return Line("pgvector", State.OK, str(version))
    todo = "Optional, for registries beyond 1,000 datasets: CREATE EXTENSION vector as superuser."
    return Line("pgvector", State.WARN, "not there: large rankings take longer", todo)


def _workers(sessions: Sessions) -> Iterator[Line]:
    """What the rows know of workers: who holds jobs, and what nobody takes."""
    with sessions.read() as session:
        beat = JobRow.lease_until > now()
        alive = select(func.count(func.distinct(JobRow.lease_owner)))
        owners = session.scalar(alive.where(in_state(JobState.RUNNING), beat)) or 0
        lost = session.scalar(
            select(func.count()).where(in_state(JobState.RUNNING), JobRow.lease_until <= now())
        )
        due = JobRow.not_before < now(-WAIT_SECONDS)
        waiting = select(JobRow.queue, func.count()).where(in_state(JobState.QUEUED), due)
        overdue = {q.value: n for q, n in session.execute(waiting.group_by(JobRow.queue))}
    said = f"{owners} compute at this moment"
    if lost:
        todo = "Start a worker: it takes back what a lost one held."
        yield Line("workers", State.WARN, f"{said}; {lost} jobs' workers were lost", todo)
    elif overdue:
        which = ", ".join(f"{count} in {queue}" for queue, count in sorted(overdue.items()))
        todo = "See that workers of these queues run, or start more if all are busy."
        yield Line("workers", State.WARN, f"{said}; waiting for a minute: {which}", todo)
    else:
        yield Line("workers", State.OK, said)


def _redis(settings: Settings) -> Iterator[Line]:
    if settings.redis_url is None:
        yield Line("redis", State.OK, "not configured: jobs run beside the service")
        return
    seconds = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS}
    try:
        with redis.Redis.from_url(settings.redis_url, **seconds) as client:
            told = client.info("server")
            policy = client.config_get("maxmemory-policy").get("maxmemory-policy")
    except redis.AuthenticationError:
        todo = "Set the password in HEADSTART_REDIS_URL."
        yield Line("redis", State.FAIL, "it refuses the password", todo)
        return
    except (redis.ConnectionError, redis.TimeoutError, ValueError):
        todo = "See that it runs and that HEADSTART_REDIS_URL names it. Jobs wait, none is lost."
        yield Line("redis", State.FAIL, "it does not answer", todo)
        return
    except redis.RedisError:  # a managed one keeps its settings to itself
        yield Line("redis", State.WARN, "it answers, and does not say how it is set up")
        return
    said = f"{told.get('redis_version')}, {policy}"
    if policy == "noeviction":
        yield Line("redis", State.OK, said)
        return
    todo = "Set maxmemory-policy to noeviction: else it may drop hints, and jobs start later."
    yield Line("redis", State.WARN, said, todo)


def _object_store(settings: Settings) -> Iterator[Line]:
    kind = "bucket" if isinstance(settings.storage, S3Storage) else "folder"
    store, token = store_of(settings), secrets.token_hex(16)
    store.check()
    key = f"{keys.folder(DEFAULT)}/probes/{token}"
    with tempfile.NamedTemporaryFile() as probe:
        probe.write(token.encode())
        probe.flush()
        began = time.monotonic()
        try:
            store.put(key, Path(probe.name))
            with store.open(key) as stream:
                whole = stream.read() == token.encode()
        finally:
            store.delete([key])
    seconds = time.monotonic() - began
    if whole and not store.exists(key):
        yield Line(
            "object store", State.OK, f"a {kind}; written, read, deleted in {seconds:.2f} s"
        )
        return
    said = "kept what was deleted" if whole else "gave back something else than was put"
    yield Line("object store", State.FAIL, said, "Use another store: this one is not reliable.")


def _gpu(settings: Settings) -> Iterator[Line]:
    wanted = settings.device.startswith("cuda")
    wrong = State.FAIL if wanted else State.WARN
    try:
        found = gpus.devices()
    except Unavailable as error:
        todo = "Run nvidia-smi and see what it says; restart the machine if a GPU was lost."
        yield Line("gpu", wrong, error.message, todo)
        return
    for gpu in found:
        memory = "shared memory" if gpu.memory_bytes is None else words.size(gpu.memory_bytes)
        yield Line("gpu", State.OK, f"{gpu.index}: {gpu.name}, {memory}, driver {gpu.driver}")
    if not found and wanted:
        todo = "Install NVIDIA's driver (580 or newer), or set HEADSTART_DEVICE=cpu."
        yield Line("gpu", wrong, "no driver, or none that it drives", todo)
    elif not found:
        yield Line("gpu", State.OK, "none: jobs compute on the CPU")


def _mlflow(settings: Settings) -> Iterator[Line]:
    """Nobody needs it to search, so at worst it is a warning."""
    told = settings.mlflow
    if told.tracking_uri is None:
        yield Line("mlflow", State.OK, "not configured: it is told of no searches")
        return
    todo = "See that it runs, and that HEADSTART_MLFLOW__… names it and how to be let in. "
    todo += "Searches go on, and are told when it answers."
    try:
        with closing(MlflowServer(told)) as server:
            found = server.experiment(told.experiment, make=False)
    except (Away, InvalidInput) as error:
        yield Line("mlflow", State.WARN, f"cannot be told of searches: {error}", todo)
        return
    until = "" if found else ", which the first search will make"
    yield Line("mlflow", State.OK, f"it answers; experiment {told.experiment}{until}")


@contextmanager
def _sessions(settings: Settings) -> Iterator[Sessions]:
    sessions = Sessions(settings.database)
    try:
        yield sessions
    finally:
        sessions.dispose()


ADVICE = {
    "database": "See that it runs, and that HEADSTART_DATABASE_URL names it and its user.",
    "object store": "See that it runs, that the bucket exists (`headstart migrate --bucket` makes "
    "it), and that HEADSTART_STORAGE__… names it and its keys.",
}
CHECKS: tuple[Check, ...] = (
    *(_python, _torch, _home, _database, _redis, _object_store, _gpu, _mlflow),
)
