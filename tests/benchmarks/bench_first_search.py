"""How long the first search of a new installation takes, from the upload to the result page.

Run from the project root, with nothing else on the machine::

    python -m tests.benchmarks.bench_first_search [--runs N] [--dataset NAME] [--images N]

Every run starts a service with an empty home, uploads one of the demo's datasets (by default its
Greek letters, 768 images of 32x32 pixels; `--images` takes so many of them) over HTTP, asks for a
search of the demo's budget that names no start, polls its job and fetches the page of the model.
Nothing was pretrained but what comes with the package.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx

from api.demo import images
from api.demo.__main__ import BATCH, EPOCHS, RETRAIN_EPOCHS
from api.demo.service import Service, started, stop_previous

COLUMNS = ("upload", "search", "page", "in all", "race", "images", "test accuracy", "began from")


def run(folder: Path, archive: Path) -> dict[str, Any]:
    """One first search: seconds, and what came of it."""
    with started(folder) as service:
        began = time.perf_counter()
        dataset = service.upload(archive, archive.stem)
        uploaded = time.perf_counter()
        model = searched(service, dataset["id"])
        ended = time.perf_counter()
        httpx.get(f"{service.url}/models/{model['id']}", timeout=60).raise_for_status()
        shown = time.perf_counter()
        search = service.get(f"/v1/searches/{model['search_id']}")
    stop_previous(folder / "service.pid")
    return {
        "upload": uploaded - began,
        "search": ended - uploaded,
        "page": shown - ended,
        "in all": shown - began,
        "race": search["start"]["race"]["seconds"],
        "images": dataset["n_train"] + dataset["n_test"],
        "test accuracy": model["metrics"]["retrained"]["test_accuracy"],
        "began from": search["start"]["supernet_name"] or "cold",
    }


def searched(service: Service, dataset_id: str) -> dict[str, Any]:
    """The model of a search that says no more than its budget."""
    submitted = service.post(
        "/v1/searches",
        {
            "dataset_id": dataset_id,
            "training": {"epochs": EPOCHS, "batch_size": BATCH},
            "retrain_epochs": RETRAIN_EPOCHS,
        },
    )
    service.wait(submitted["job"], lambda _job: None)
    search = service.get(f"/v1/searches/{submitted['id']}")
    return service.get(f"/v1/models/{search['model_id']}")


def thinned(archive: Path, count: int) -> Path:
    """The archive with `count` of its images, spread evenly over classes and splits."""
    path = archive.with_name(f"{archive.stem}-{count}.zip")
    with zipfile.ZipFile(archive) as whole, zipfile.ZipFile(path, "w") as part:
        names = whole.namelist()
        if count > len(names):
            raise SystemExit(f"{archive.stem} has {len(names)} images, not {count}")
        for at in range(count):
            name = names[at * len(names) // count]
            part.writestr(name, whole.read(name))
    return path


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dataset", choices=images.ARCHIVES, default="greek")
    parser.add_argument("--images", type=int, help="of the dataset; all when left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        archive = images.build(Path(name) / "data")[given.dataset]
        if given.images:
            archive = thinned(archive, given.images)
        rows = [run(Path(name), archive) for _ in range(given.runs)]
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        cells = (f"{v:.1f}" if isinstance(v, float) and v > 1 else f"{v:.3g}" if
                 isinstance(v, float) else str(v) for v in (row[c] for c in COLUMNS))  # fmt: skip
        print(f"| {' | '.join(cells)} |")
    print(f"median in all: {statistics.median(row['in all'] for row in rows):.1f} s")


if __name__ == "__main__":
    main()
