"""Tells an MLflow server of searches that have ended, beside whatever else a process does.

Any number of processes may. A search is taken under a lease, and its run is found again by a tag:
whoever dies in between leaves a run that somebody else goes on with. What a run has is not told
again, and its status is told last.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from threading import Event
from typing import Any

import structlog
from prometheus_client import Counter, Gauge

from core import crash_points
from core.config import MlflowSettings, Settings
from core.db.sessions import Sessions
from core.domain.mlflow import Metric, Run
from core.domain.searches import SearchId
from core.errors import NotFound, Unavailable
from core.execution.collector import STOP_SECONDS
from core.execution.metrics import REGISTRY
from core.execution.mlflow_server import PROXIED, TOTAL_SECONDS, Away, MlflowServer, Refused
from core.execution.sweeper import Sweeper
from core.ports import ObjectStore
from core.services import mlflow_runs

EVERY_SECONDS = 5.0
LEASE_SECONDS = TOTAL_SECONDS + 120.0  # with time for the last answer, and to note it
FOLDER = "model"  # of a run's files
LINK_TAG, LEFT_OUT_TAG = "headstart.artifacts", "headstart.artifacts_left_out"
OUTCOMES = ("told", "refused", "away", "broken")

TOLD = Counter(
    "headstart_mlflow_attempts",
    "Attempts to tell MLflow of a search, by what became of them.",
    ["outcome"],
    registry=REGISTRY,
)
for _outcome in OUTCOMES:
    TOLD.labels(_outcome)
WAITING = Gauge(
    "headstart_mlflow_waiting",
    "Ended searches that MLflow has not been told of, where it is to be.",
    registry=REGISTRY,
)
OLDEST = Gauge(
    "headstart_mlflow_oldest_seconds",
    "Seconds since the first of them ended.",
    registry=REGISTRY,
)

log = structlog.stdlib.get_logger(__name__)


@contextmanager
def telling(settings: Settings, sessions: Sessions, store: ObjectStore) -> Iterator[None]:
    """Tell while the block runs, where the operator names a server."""
    if settings.mlflow.tracking_uri is None:
        yield
        return
    with closing(MlflowServer(settings.mlflow)) as server:
        sender = Sender(sessions, store, server, settings.mlflow)
        rounds = Sweeper(sender.empty, seconds=EVERY_SECONDS)
        rounds.start()
        try:
            yield
        finally:
            sender.stop()
            rounds.stop(patience=STOP_SECONDS)


class Sender:
    """Takes searches from the database, one after another, and tells the server of each."""

    def __init__(
        self,
        sessions: Sessions,
        store: ObjectStore,
        server: MlflowServer,
        settings: MlflowSettings,
    ) -> None:
        self._sessions, self._store, self._server = sessions, store, server
        self._settings = settings
        self._stopping = Event()

    def stop(self) -> None:
        """Take nothing more, and leave what is under way to the next process."""
        self._stopping.set()
        self._server.leave()

    def empty(self) -> None:
        """Tell of what is due until nothing is, or the server is away."""
        while not self._stopping.is_set() and self._waits():
            with self._sessions.begin() as session:
                search_id = mlflow_runs.claim(session, lease_seconds=LEASE_SECONDS)
            if search_id is None or self._attempt(search_id) == "away":
                break
        self._waits()

    def _waits(self) -> bool:
        with self._sessions.read() as session:
            standing = mlflow_runs.standing(session)
        WAITING.set(standing.waiting)
        OLDEST.set(standing.oldest_seconds)
        return standing.waiting > 0

    def _attempt(self, search_id: SearchId) -> str:
        run_id, outcome = None, "told"
        try:
            run_id = self._tell(search_id)
        except (Away, Refused, Unavailable) as error:
            outcome = "refused" if isinstance(error, Refused) else "away"
            log.warning("mlflow_not_told", search=str(search_id), why=str(error))
        except Exception:  # a bug that one search brings out must not keep the others waiting
            outcome = "broken"
            log.exception("mlflow_not_told", search=str(search_id))
        crash_points.reach("before_run_note")
        with self._sessions.begin() as session:
            if run_id is None:
                mlflow_runs.failed(session, search_id, luck=random.random())
            else:
                mlflow_runs.told(session, search_id, run_id)
        TOLD.labels(outcome).inc()
        return outcome

    def _tell(self, search_id: SearchId) -> str:
        with self._sessions.read() as session:
            run = mlflow_runs.read(session, search_id, links_to=self._settings.links_to or "")
        server = self._server
        server.begin()
        experiment = server.experiment(self._settings.experiment)
        if experiment is None:
            raise Refused(f"there can be no experiment '{self._settings.experiment}'")
        there = server.find(experiment, str(search_id))
        begun = there or server.create(experiment, run.name, run.tags, run.started_at)
        run_id = str(begun["info"]["run_id"])
        if begun["info"]["status"] != run.status:  # else all of it was told before
            self._log(run_id, run, there)
            crash_points.reach("before_run_files")
            self._put(run_id, run, str(begun["info"].get("artifact_uri", "")))
            server.end(run_id, run.status, run.ended_at)
        return run_id

    def _log(self, run_id: str, run: Run, there: Mapping[str, Any] | None) -> None:
        """What the run does not have of parameters and metrics: some servers would keep both."""
        known, metrics = set(), run.metrics
        if there is not None:
            known = {each["key"] for each in there["data"].get("params", ())}
            metrics = self._missing(run_id, run.metrics, there)
        self._server.log_params(run_id, {k: v for k, v in run.params.items() if k not in known})
        self._server.log_metrics(run_id, metrics)

    def _missing(
        self, run_id: str, metrics: tuple[Metric, ...], there: Mapping[str, Any]
    ) -> tuple[Metric, ...]:
        keys = {each["key"] for each in there["data"].get("metrics", ())}
        steps = {key: self._server.steps(run_id, key) for key in keys}
        return tuple(each for each in metrics if each.step not in steps.get(each.key, ()))

    def _put(self, run_id: str, run: Run, uri: str) -> None:
        """The model's files, where the server takes any; else where they are found."""
        if not run.artifacts:
            return
        if not uri.startswith(PROXIED) or uri.startswith(f"{PROXIED}/"):  # it, and no other
            self._server.tag(run_id, LINK_TAG, run.tags["headstart.link"])
            return
        place, left_out = uri.removeprefix(PROXIED), []
        for each in run.artifacts:
            try:
                with self._store.open(each.key) as stream:
                    named = f"{place}/{FOLDER}/{each.name}"
                    self._server.put(named, stream, size=each.size, media_type=each.media_type)
            except (NotFound, Refused) as error:  # it was deleted, or is too large for them
                log.warning("mlflow_artifact_left_out", run=run_id, name=each.name, why=str(error))
                left_out.append(each.name)
        if left_out:
            self._server.tag(run_id, LEFT_OUT_TAG, " ".join(left_out))
