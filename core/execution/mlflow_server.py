"""An MLflow tracking server, as far as runs are concerned, by its REST interface.

Its own client is not used: it is hundreds of megabytes for a handful of requests.
"""

import json
import ssl
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import httpx

from core.config import MlflowSettings
from core.domain.mlflow import SEARCH_TAG, Metric
from core.errors import InvalidInput

CONNECT_SECONDS, ANSWER_SECONDS = 5.0, 60.0
TOTAL_SECONDS = 1_200.0  # for all that is said between two calls of `begin`
AT_ONCE = 1_000  # metrics in one request, as many as MLflow takes
CHUNK = 1024 * 1024
PROXIED = "mlflow-artifacts:/"  # of a run whose files the server itself takes
# Said of whoever asks, or at this moment; whatever else is refused is refused for good.
ABOUT_US = frozenset({401, 403, 407, 408, 425, 429})
TOLD = "The experiment '{}' is deleted in MLflow: restore it, or name another."


class Away(Exception):
    """MLflow does not answer, or will not talk to us: whatever is told, and not for ever."""


class Refused(Exception):
    """MLflow does not take what it was told."""


class MlflowServer:
    """The server that the settings name; whatever it does not do is Away or Refused."""

    def __init__(self, settings: MlflowSettings) -> None:
        self._uri, self._until = str(settings.tracking_uri), 0.0
        headers, auth = {"User-Agent": "headstart"}, None
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        if settings.username is not None and settings.password is not None:
            auth = httpx.BasicAuth(settings.username, settings.password.get_secret_value())
        self._client = httpx.Client(
            auth=auth,
            headers=headers,
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
            verify=_trusted(settings.ca_file),
        )
        self.begin()

    def begin(self) -> None:
        """From now on there is time again."""
        self._until = time.monotonic() + TOTAL_SECONDS

    def leave(self) -> None:
        """Say nothing more, wherever that is, until the next `begin`."""
        self._until = 0.0

    def close(self) -> None:
        """Let go of its connections."""
        self._client.close()

    def experiment(self, name: str, *, make: bool = True) -> str | None:
        """The experiment's id; without it and `make`, None."""
        try:
            found = self._ask("GET", "experiments/get-by-name", experiment_name=name)["experiment"]
        except Refused:
            if not make:
                return None
        else:
            if found.get("lifecycle_stage") == "deleted":
                raise Away(TOLD.format(name))
            return str(found["experiment_id"])
        try:
            return str(self._ask("POST", "experiments/create", name=name)["experiment_id"])
        except Refused:  # somebody was quicker; or it cannot be called so
            return self.experiment(name, make=False)

    def find(self, experiment_id: str, search_id: str) -> dict[str, Any] | None:
        """The run that tells of this search, if there is one."""
        which = f"tags.`{SEARCH_TAG}` = '{search_id}'"
        terms = {"experiment_ids": [experiment_id], "filter": which, "max_results": 1}
        runs = self._ask("POST", "runs/search", **terms).get("runs")
        return dict(runs[0]) if runs else None

    def create(
        self, experiment_id: str, name: str, tags: Mapping[str, str], at: datetime
    ) -> dict[str, Any]:
        """A new run with these tags."""
        terms = {"experiment_id": experiment_id, "run_name": name, "start_time": _milliseconds(at)}
        return dict(self._ask("POST", "runs/create", **terms, tags=_pairs(tags))["run"])

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Parameters that the run does not have yet."""
        self._ask("POST", "runs/log-batch", run_id=run_id, params=_pairs(params))

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Numbers, in as many requests as that takes."""
        for start in range(0, len(metrics), AT_ONCE):
            said = [
                {"key": each.key, "value": each.value, "step": each.step}
                | {"timestamp": _milliseconds(each.at)}
                for each in metrics[start : start + AT_ONCE]
            ]
            self._ask("POST", "runs/log-batch", run_id=run_id, metrics=said)

    def steps(self, run_id: str, key: str) -> set[int]:
        """Those at which the run has this metric."""
        found = self._ask("GET", "metrics/get-history", run_id=run_id, metric_key=key)
        return {int(each.get("step", 0)) for each in found.get("metrics", ())}

    def tag(self, run_id: str, key: str, value: str) -> None:
        """Set a tag of the run."""
        self._ask("POST", "runs/set-tag", run_id=run_id, key=key, value=value)

    def put(self, place: str, stream: BinaryIO, *, size: int, media_type: str) -> None:
        """Store a file where the run keeps its own, by way of the server."""
        url = f"{self._uri}/api/2.0/mlflow-artifacts/artifacts/{quote(place)}"
        headers = {"Content-Length": str(size), "Content-Type": media_type}
        self._send("PUT", url, headers=headers, content=self._chunks(stream))

    def end(self, run_id: str, status: str, at: datetime) -> None:
        """Say that the run is over."""
        self._ask("POST", "runs/update", run_id=run_id, status=status, end_time=_milliseconds(at))

    def _ask(self, method: str, what: str, **terms: Any) -> dict[str, Any]:
        url = f"{self._uri}/api/2.0/mlflow/{what}"
        told: dict[str, Any] = {"params": terms} if method == "GET" else {"json": terms}
        response = self._send(method, url, **told)
        try:
            return dict(response.json())
        except ValueError as error:
            raise Away("what answers there is no MLflow") from error

    def _send(self, method: str, url: str, **told: Any) -> httpx.Response:
        self._check_time()
        try:
            response = self._client.request(method, url, **told)
        except httpx.HTTPError as error:
            raise Away(type(error).__name__) from error
        if response.is_success:
            return response
        status, said = response.status_code, _said(response)
        ours = said is None and method != "PUT"  # an MLflow says in JSON what is wrong
        if response.is_redirect or status >= 500 or status in ABOUT_US or ours:
            raise Away(f"{status} {said or ''}".strip())
        raise Refused(f"{status} {said or ''}".strip())

    def _chunks(self, stream: BinaryIO) -> Iterator[bytes]:
        while chunk := stream.read(CHUNK):
            self._check_time()
            yield chunk

    def _check_time(self) -> None:
        if time.monotonic() > self._until:
            raise Away("the time for it is over")


def _trusted(ca_file: Path | None) -> ssl.SSLContext | bool:
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        message = f"HEADSTART_MLFLOW__CA_FILE: {ca_file} cannot be read as certificates."
        raise InvalidInput(message) from error


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": name, "value": value} for name, value in values.items()]


def _milliseconds(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def _said(response: httpx.Response) -> str | None:
    """What an MLflow says of an error."""
    try:
        told = json.loads(response.content)
        return f"{told['error_code']}: {told.get('message', '')}"[:500]
    except (ValueError, KeyError, TypeError):
        return None
