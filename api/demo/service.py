"""The demo's Headstart service, its own or one that runs: spoken to over HTTP alone."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

Json = dict[str, Any]
STAYS_SECONDS = 3600


class DemoFailed(Exception):
    """A job of the demo failed, or the service did not start; the message says where to look."""


class Service:
    """The running service, through its REST interface; `log` is where it says what went wrong."""

    def __init__(self, url: str, log: Path | str) -> None:
        self.url, self.log = url, log
        self._http = httpx.Client(base_url=url, timeout=120)

    def get(self, path: str) -> Json:
        """One resource."""
        return self._checked(self._http.get(path))

    def post(self, path: str, body: Json | None = None) -> Json:
        """Ask for something."""
        return self._checked(self._http.post(path, json=body))

    def upload(self, path: Path, name: str) -> Json:
        """Upload an archive: the dataset with its report, and its embed job."""
        with path.open("rb") as file:
            response = self._http.post(
                "/v1/datasets",
                params={"name": name},
                content=file,
                headers={"Content-Type": "application/zip"},
            )
        return self._checked(response)

    def wait(self, job: Json, on_progress: Callable[[Json], None]) -> Json:
        """Poll a job to its end. Raises DemoFailed unless it succeeds."""
        while True:
            job = self.get(f"/v1/jobs/{job['id']}")
            on_progress(job)
            if job["state"] == "succeeded":
                return job
            if job["poll_after_ms"] is None:
                reason = f"{job['error_code']}: {job['error_message']}"
                raise DemoFailed(
                    f"the {job['kind']} job {job['state']} ({reason}); see {self.log}"
                )
            time.sleep(min(job["poll_after_ms"] / 1000, 0.5))

    def download(self, model: Json, folder: Path) -> dict[str, Path]:
        """Every file of a model, by name."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {}
        for artifact in model["artifacts"]:
            path = folder / artifact["name"]
            url = f"/v1/models/{model['id']}/artifacts/{artifact['name']}"
            with self._http.stream("GET", url) as response, path.open("wb") as file:
                response.raise_for_status()
                for chunk in response.iter_bytes():
                    file.write(chunk)
            paths[artifact["name"]] = path
        return paths

    def ready(self) -> bool:
        """Whether it answers that it can work."""
        try:
            return self._http.get("/readyz", timeout=2).is_success
        except httpx.TransportError:
            return False

    def _checked(self, response: httpx.Response) -> Json:
        if response.is_error:
            raise DemoFailed(f"{response.request.url}: {response.text}; see {self.log}")
        body: Json = response.json()
        return body


@contextmanager
def attached(url: str) -> Iterator[Service]:
    """A service that somebody else runs. Raises DemoFailed when it cannot work."""
    service = Service(url.rstrip("/"), "the log of the service")
    if not service.ready():
        raise DemoFailed(f"no service at {url} answers that it can work (GET /readyz)")
    yield service


@contextmanager
def started(folder: Path) -> Iterator[Service]:
    """A service with an empty home under `folder`, in a process of its own.

    It outlives the demo for an hour, so that its pages can be looked at; if the demo fails it is
    stopped. A service that an earlier demo left running is stopped first.
    """
    pid_file, log = folder / "service.pid", folder / "service.log"
    stop_previous(pid_file)
    home = folder / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    port = _free_port()
    command = [sys.executable, "-m", "api.cli", "serve", "--port", str(port)]
    if timeout := shutil.which("timeout"):
        command = [timeout, "--foreground", str(STAYS_SECONDS), *command]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=os.environ | {"HEADSTART_HOME": str(home.absolute())},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    pid_file.write_text(str(process.pid))
    service = Service(f"http://127.0.0.1:{port}", log)
    try:
        _await_ready(service, process)
        yield service
    except BaseException:
        stop_previous(pid_file)
        raise


def stop_previous(pid_file: Path) -> None:
    """Stop the service whose process id an earlier demo wrote down, if it still runs."""
    try:
        pid = int(pid_file.read_text())
        # A process id is used again some day: only ours has our command line.
        if b"api.cli" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.killpg(pid, 15)
            _await_gone(pid)
    except (FileNotFoundError, ProcessLookupError, ValueError):
        pass
    pid_file.unlink(missing_ok=True)


def _await_gone(pid: int) -> None:
    for _ in range(300):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in _status(pid):
            return
        time.sleep(0.1)
    os.killpg(pid, 9)


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return ""


def _await_ready(service: Service, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if service.ready():
            return
        if process.poll() is not None:
            break
        time.sleep(0.1)
    raise DemoFailed(f"the service did not start; see {service.log}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
