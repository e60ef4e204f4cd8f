"""A running cluster: the servers, the API and the workers, each to be stopped and started."""

import contextlib
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from tests.cluster.composition import LOOPBACK, Composition
from tests.fixtures import postgres, redis, s3
from tests.fixtures.processes import Process
from tests.fixtures.servers import UNTRUSTING, Identity, ServerFailed, free_port, server_folder

API, WORKER, PREPARE = "api", "worker-cpu", "prepare"


@dataclass
class Cluster:
    """Where it is, and all that it is made of."""

    url: str
    postgres: postgres.OwnServer
    redis: redis.OwnServer
    composition: Composition
    folder: Path
    more: Mapping[str, str]
    processes: dict[str, Process] = field(default_factory=dict)

    @property
    def api(self) -> Process:
        """The API's process."""
        return self.processes[API]

    @property
    def workers(self) -> list[Process]:
        """The workers' processes."""
        return [each for name, each in self.processes.items() if name != API]

    def environment(self, service: str, name: str) -> dict[str, str]:
        """What a process of that service is told, its home being of that name."""
        home = self.folder / "run" / name / "home"
        return self.composition.environment(service, home) | self.more

    def log(self, name: str) -> Path:
        """Where the process of that name writes."""
        return self.folder / "logs" / f"{name}.log"

    def add(self, service: str, name: str) -> Process:
        """A process of that service, which does not run yet."""
        assert name not in self.processes, f"there is a {name}"
        made = Process(
            self.composition.command(service),
            self.environment(service, name),
            folder=self.folder / "run" / name,
            log=self.log(name),
            ready=self._answers if service == API else _consumes,
        )
        self.processes[name] = made
        return made

    def run_once(self, service: str) -> None:
        """Run a service that ends by itself. Raises ServerFailed when it fails."""
        place = self.folder / "run" / service
        (place / "home").mkdir(parents=True, exist_ok=True)
        with self.log(service).open("w+") as log:
            code = subprocess.run(
                self.composition.command(service),
                env=self.environment(service, service),
                cwd=place,
                stdout=log,
                stderr=log,
                check=False,
            ).returncode
            log.seek(0)
            if code:
                raise ServerFailed(f"{service} failed ({code}):\n{log.read()[-4000:]}")

    def check_health(self) -> None:
        """Judge every process by its image's own health check. Raises ServerFailed."""
        for name, process in self.processes.items():
            service = API if name == API else WORKER
            check = self.composition.health_check(service)
            asked = subprocess.run(
                check, env=process.environment, capture_output=True, text=True, check=False
            )
            if asked.returncode:
                raise ServerFailed(f"{name} is not healthy:\n{asked.stdout}{asked.stderr}")

    def close(self) -> None:
        """Stop what runs, the workers first, with time to hand their jobs back."""
        for process in (*self.workers, self.api) if self.processes else ():
            with contextlib.suppress(TimeoutError):
                # No balancer needs to hear that the API leaves.
                process.stop(signal.SIGINT if process is self.api else signal.SIGTERM)
            process.close()

    def _answers(self, _: Process) -> bool:
        return answers(self.url)


@contextlib.contextmanager
def cluster(
    folder: Path,
    *,
    workers: int = 2,
    threads: int = 1,
    more: Mapping[str, str] | None = None,
    given: Mapping[str, str] | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Iterator[Cluster]:
    """Servers, prepared; then an API and workers, ready and healthy, until the block ends.

    `threads` is what the file calls the cores of a worker; `more` is added to the environment of
    each of our processes; `given` is what its `.env` says, but for the store's user, which is
    this machine's. Their logs stay in `folder`/logs. Raises ServerFailed.
    """
    for part in ("logs", "run"):
        shutil.rmtree(folder / part, ignore_errors=True)
        (folder / part).mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        made = _servers(stack, folder.absolute(), threads, more or {}, given or {}, say)
        say("Runs the file's prepare: bucket, schema, supernets of the package")
        made.run_once(PREPARE)
        stack.callback(made.close)
        names = {API: API, **{f"worker-{n}": WORKER for n in range(1, workers + 1)}}
        started = [made.add(service, name) for name, service in names.items()]
        begun = time.monotonic()
        with ThreadPoolExecutor(len(started)) as pool:
            list(pool.map(Process.start, started))
        made.check_health()
        say(f"API and {workers} workers are healthy after {time.monotonic() - begun:.1f} s")
        yield made


def _servers(
    stack: contextlib.ExitStack,
    folder: Path,
    threads: int,
    more: Mapping[str, str],
    said: Mapping[str, str],
    say: Callable[[str], object],
) -> Cluster:
    port = int(said.get("HEADSTART_PORT") or free_port())
    given = {
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "REDIS_PASSWORD": secrets.token_hex(16),
        "STORAGE_SECRET_KEY": secrets.token_hex(16),
        "SECRET_KEY": secrets.token_hex(16),
        "AUTH": "none",  # it is asked on loopback alone
        **said,
        "STORAGE_ACCESS_KEY": s3.USER,
        "HEADSTART_PORT": str(port),
        "CPU_WORKER_CPUS": str(threads),
    }
    file = Composition(given, {})
    identity = Identity.unprivileged()
    data = stack.enter_context(server_folder("cluster", identity))
    binaries = postgres.chosen_binaries(data)
    told = file.told("postgres")
    database = postgres.OwnServer(binaries, data, identity, password=told["POSTGRES_PASSWORD"])
    database.start()
    stack.callback(database.close)
    _create(database, told["POSTGRES_DB"])
    broker = stack.enter_context(redis.own_server(file.redis_options()))
    broker.start()
    storage = stack.enter_context(s3.own_server(given["STORAGE_SECRET_KEY"]))
    urls = {"postgres": database.url, "redis": broker.url, "storage": str(storage.endpoint_url)}
    ports = {name: make_url(url).port or 0 for name, url in urls.items()} | {API: port}
    say("PostgreSQL, {postgres}; Redis, {redis}; S3, {storage}: loopback ports".format(**ports))
    return Cluster(
        url=f"http://{LOOPBACK}:{port}",
        postgres=database,
        redis=broker,
        composition=Composition(given, ports),
        folder=folder,
        more=more,
    )


def _create(server: postgres.OwnServer, name: str) -> None:
    url = server.url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def answers(url: str) -> bool:
    """Whether the service there says that it can work."""
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", timeout=5, trust_env=False, verify=UNTRUSTING).is_success
    return False


def _consumes(worker: Process) -> bool:
    """Whether the worker hears Redis; it has written its beat by then."""
    return " ready." in worker.said()
