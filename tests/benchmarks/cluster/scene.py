"""A cluster to measure: one dataset, searches of one size, and what the kernel says of them."""

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from api.demo.service import Service
from tests.cluster.running import Cluster
from tests.fixtures.processes import Process

Json = dict[str, Any]
POLL_SECONDS = 1.0  # asking costs the API's CPU time, which is not what is measured
TICKS = os.sysconf("SC_CLK_TCK")
SPACE: Json = {"channels": 8, "layers": 4, "nodes": 4, "resolution": 16}


@dataclass(frozen=True, slots=True)
class Scene:
    """The cluster, through its REST interface, and the dataset that all jobs are about."""

    cluster: Cluster
    service: Service
    dataset: str

    @classmethod
    def of(cls, cluster: Cluster, archives: Iterable[Path]) -> "Scene":
        """Upload and embed the archives; the last one is the dataset."""
        service = Service(cluster.url, cluster.folder / "logs")
        uploaded = [service.upload(path, path.stem) for path in archives]
        for each in uploaded:
            service.wait(each["embed_job"], lambda _: None)
        return cls(cluster, service, uploaded[-1]["id"])

    def rank(self) -> Json:
        """Submit a short job."""
        return self.service.post(f"/v1/datasets/{self.dataset}:rank")

    def search(self, epochs: int) -> Json:
        """Submit a cold search of so many epochs, with two of retraining; its job."""
        training = {"epochs": epochs, "batch_size": 32, "seed": 0}
        body = {"dataset_id": self.dataset, "policy": "cold", "space": SPACE, "patience": 0}
        body |= {"training": training, "learning_rates": [0.1], "retrain_epochs": 2}
        job: Json = self.service.post("/v1/searches", body)["job"]
        return job

    def ended(self, jobs: Sequence[Json]) -> None:
        """Wait for their success."""
        for job in jobs:
            while (now := self.service.get(f"/v1/jobs/{job['id']}"))["poll_after_ms"] is not None:
                time.sleep(POLL_SECONDS)
            if now["state"] != "succeeded" or now["attempt"] != 1:
                raise RuntimeError(f"a job was disturbed: {now}")

    def moments(self, job: Json) -> dict[str, float]:
        """When the job entered each state, by the database's clock, which is this machine's."""
        events = self.service.get(f"/v1/jobs/{job['id']}/events")["items"]
        return {
            each["to_state"]: datetime.fromisoformat(each["at"]).timestamp() for each in events
        }


def cpu_seconds(process: Process) -> float:
    """Of a process and of all its children that have ended."""
    stat = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in stat[11:15]) / TICKS
