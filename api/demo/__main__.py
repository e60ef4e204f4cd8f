"""`make demo`: the main job, end to end, on real images, with a cold search as the control.

Each target is uploaded, embedded and ranked, then searched twice at one budget: from the winner
of the race that a search runs by default (the supernet that comes with the package, or a cold
start), and cold at its own best learning rate. With --long the sources get supernets of their own
first, the warm start is from the nearest of them, and a third search is cold with its heads solved
in closed form as the warm start has them.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from api.demo import images, results
from api.demo.service import DemoFailed, Json, Service, attached, started

SOURCES = ("mnist", "latin", "textures")
TARGETS = ("digits", "greek")
# One budget for every arm; small enough for two cores and four minutes.
SPACE: Json = {"channels": 8, "layers": 4, "nodes": 4, "resolution": 16}
BATCH, EPOCHS, PRETRAIN_EPOCHS, RETRAIN_EPOCHS = 32, 4, 5, 10
COLD_RATES, PRETRAIN_RATE, ALPHA_RATE = (0.1, 0.2), 0.1, 0.02
ARMS: Mapping[str, Json] = {
    # A search as published: to its end, whatever it gains.
    "cold": {"policy": "cold", "head": "random", "learning_rates": COLD_RATES, "patience": 0},
    "warm": {},  # what a search does that says nothing of it
}
LONG_ARMS: Mapping[str, Json] = {
    "cold": ARMS["cold"],
    "cold_closed_form_head": {"policy": "cold", "patience": 0},
    "warm": {"policy": "nearest"},
}
FILES = {"onnx": "model.onnx", "safetensors": "model.safetensors", "model_card": "README.md",
         "report": "report.html"}  # fmt: skip


class Demo:
    """One run: the service, the screen, the seed, and whether it is the long form."""

    def __init__(
        self, service: Service, progress: Progress, *, folder: Path, seed: int, long: bool
    ) -> None:
        self.service, self.progress = service, progress
        self.folder, self.seed, self.long = folder, seed, long

    def run(self) -> Json:
        """Everything, in the order a user would do it."""
        archives = images.build(self.folder / "data")
        with ThreadPoolExecutor(1) as meanwhile:
            sources = self._upload({name: archives[name] for name in SOURCES})
            wanted = sources if self.long else {}
            pretraining_job = meanwhile.submit(self._pretrain, wanted)
            targets = self._upload({name: archives[name] for name in TARGETS})
            pretraining = pretraining_job.result()
        rankings = self._rank(targets)
        models = self._search(targets)
        return {
            "targets": {
                name: self._target(name, rankings[name], models[name]) for name in TARGETS
            },
            "pretraining_seconds": pretraining,
            "ranking_seconds": {name: ranking["seconds"] for name, ranking in rankings.items()},
            "seed": self.seed,
            "url": f"{self.service.url}/models/{models[TARGETS[0]]['warm'][1]['id']}",
        }

    def _upload(self, archives: Mapping[str, Path]) -> dict[str, Json]:
        found = {name: self.service.upload(path, name) for name, path in archives.items()}
        jobs = {f"embed {name}": dataset["embed_job"] for name, dataset in found.items()}
        self._wait_all({label: job for label, job in jobs.items() if job is not None})
        return found

    def _pretrain(self, sources: Mapping[str, Json]) -> dict[str, float]:
        jobs = {
            name: self.service.post(
                "/v1/supernets",
                {
                    "dataset_id": dataset["id"],
                    "name": name,
                    "space": SPACE,
                    "training": self._training(PRETRAIN_EPOCHS),
                    "learning_rate": PRETRAIN_RATE,
                },
            )
            for name, dataset in sources.items()
        }
        ended = self._wait_all({f"pretrain {name}": job for name, job in jobs.items()})
        return {
            name: self.service.get(f"/v1/supernets/{job['result']['supernet_id']}")["seconds"]
            for name, job in zip(sources, ended, strict=True)
        }

    def _rank(self, targets: Mapping[str, Json]) -> dict[str, Json]:
        paths = {name: f"/v1/datasets/{dataset['id']}" for name, dataset in targets.items()}
        jobs = {f"rank {name}": self.service.post(f"{path}:rank") for name, path in paths.items()}
        self._wait_all(jobs)
        return {name: self.service.get(f"{path}/neighbours") for name, path in paths.items()}

    def _search(self, targets: Mapping[str, Json]) -> dict[str, dict[str, tuple[Json, Json]]]:
        searches = {
            (target, arm): self.service.post(
                "/v1/searches",
                {
                    "dataset_id": dataset["id"],
                    "space": SPACE,
                    "training": self._training(EPOCHS),
                    "retrain_epochs": RETRAIN_EPOCHS,
                    **start,
                },
            )
            for target, dataset in targets.items()
            for arm, start in (LONG_ARMS if self.long else ARMS).items()
        }
        self._wait_all({f"search {t}: {a}": s["job"] for (t, a), s in searches.items()})
        models: dict[str, dict[str, tuple[Json, Json]]] = {target: {} for target in targets}
        for (target, arm), submitted in searches.items():
            search = self.service.get(f"/v1/searches/{submitted['id']}")
            models[target][arm] = (search, self.service.get(f"/v1/models/{search['model_id']}"))
        return models

    def _target(self, name: str, ranking: Json, arms: Mapping[str, tuple[Json, Json]]) -> Json:
        cold_best = results.best_validation(arms["cold"][1])
        described = {}
        for arm, (search, model) in arms.items():
            files = self.service.download(model, self.folder / name / arm)
            artifacts = {kind: str(files[file]) for kind, file in FILES.items()}
            described[arm] = results.arm(search, model, cold_best=cold_best, artifacts=artifacts)
        nearest_first = [
            {
                "source": n["dataset_name"],
                "distance": n["distance"],
                "interval": n["interval"],
                "tied_with_nearest": n["tied_with_nearest"],
            }
            for n in ranking["neighbours"]
        ]
        return {"ranking": nearest_first, **described}

    def _training(self, epochs: int) -> Json:
        return {
            "epochs": epochs,
            "batch_size": BATCH,
            "alpha_learning_rate": ALPHA_RATE,
            "seed": self.seed,
        }

    def _wait_all(self, jobs: Mapping[str, Json]) -> Sequence[Json]:
        with ThreadPoolExecutor(max(1, len(jobs))) as pool:
            return list(pool.map(self._wait, jobs.keys(), jobs.values()))

    def _wait(self, label: str, job: Json) -> Json:
        task = self.progress.add_task(label, total=1.0, stage="waiting")

        def show(now: Json) -> None:
            self._show(task, now)

        return self.service.wait(job, show)

    def _show(self, task: TaskID, job: Json) -> None:
        done = job["state"] == "succeeded"
        eta = job["eta_seconds"]
        stage = "done" if done else job["stage"] or job["state"]
        stage += f", {eta:.0f} s left" if eta and not done else ""
        self.progress.update(task, completed=1.0 if done else job["progress"], stage=stage)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 0 when it ended with its table, 1 when it failed."""
    options = _parsed(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    console, began = Console(), time.monotonic()
    columns = ("{task.description}", "{task.fields[stage]}")
    progress = Progress(
        TextColumn(columns[0]),
        BarColumn(24),
        TextColumn(columns[1]),
        TimeElapsedColumn(),
        console=console,
    )
    try:
        with attached(options.url) if options.url else started(options.folder) as service:
            console.print(f"The service runs at {service.url}")
            with progress:
                demo = Demo(
                    service,
                    progress,
                    folder=options.folder,
                    seed=options.seed,
                    long=options.long,
                )
                result = demo.run()
    except DemoFailed as error:
        console.print(f"[red]The demo failed:[/red] {error}")
        return 1
    path = options.folder / "result.json"
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    console.print(results.tables(result))
    stays = "" if options.url else "  (the service stays up for an hour)"
    console.print(f"\nTook {time.monotonic() - began:.0f} seconds. Where to look:")
    _where_to_look(console, result, path, stays)
    return 0


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("var/demo"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--long", action="store_true", help="train a supernet on each source; one control more"
    )
    parser.add_argument("--url", help="use the service that runs there instead of starting one")
    return parser.parse_args(arguments)


def _where_to_look(console: Console, result: Json, path: Path, stays: str) -> None:
    warm: Any = result["targets"][TARGETS[0]]["warm"]["artifacts"]
    lines = (
        f"  result page   {result['url']}{stays}",
        f"  report        {warm['report']}",
        f"  ONNX model    {warm['onnx']}",
        f"  all figures   {path}",
    )
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    sys.exit(main())
