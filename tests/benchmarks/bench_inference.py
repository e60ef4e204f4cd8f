"""What inference costs: requests per second and latency of one image, together and one by one.

Run from the project root, with nothing else on the machine::

    python -m tests.benchmarks.bench_inference [--seconds 15] [--clients 16] [--processes 4]

A network of the usual size (8 channels, 4 layers, 32x32 pixels in colour) is exported, and served
by the deployed application on SQLite. Clients in processes of their own each ask about one image
at a time, as bytes, over a connection that stays open. Measured: requests computed one by one,
those that wait computed together, and the same with 2 and 5 ms to wait for company. Prints a table
and writes `var/bench/inference.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np

from core.bootstrap import build
from core.config import Settings
from core.db import schema
from tests.benchmarks.deployed import served
from tests.fixtures.projects import of_project
from tests.unit.api import scenes

OUT = Path("var/bench/inference.json")
WAYS = {
    "one by one": {"HEADSTART_INFERENCE__ROWS": "1"},
    "together": {},
    "together, 2 ms for company": {"HEADSTART_INFERENCE__GATHER_SECONDS": "0.002"},
    "together, 5 ms for company": {"HEADSTART_INFERENCE__GATHER_SECONDS": "0.005"},
}


def exported() -> bytes:
    """A derived network of the usual size, untrained."""
    import torch

    from core.nas.export import onnx_bytes
    from core.nas.genotype import Edge, Genotype
    from core.nas.network import Network
    from core.nas.space import Space

    pairs = ((0, 1), (0, 2), (1, 3), (2, 4))
    chosen = ("sep_conv_3x3", "dil_conv_3x3")
    cell = tuple((Edge(chosen[0], first), Edge(chosen[1], second)) for first, second in pairs)
    space = Space(channels=8, layers=4, nodes=4, input_channels=3)
    drawn = torch.Generator().manual_seed(0)
    network = Network(space, Genotype(normal=cell, reduction=cell), 10, drawn).eval()
    return onnx_bytes(network, torch.full((3,), 0.5), torch.full((3,), 0.2), 32)


def seeded(told: dict[str, str], model: bytes) -> UUID:
    """The id of a model whose file this is."""
    settings = Settings(home=Path(told["HEADSTART_HOME"]))
    settings.home.mkdir()
    schema.migrate(settings.database)
    with contextlib.closing(build(settings)) as whole:
        container = of_project(whole)
        target = scenes.dataset(container)
        return scenes.finished(container, target, files={"model.onnx": model})[1].id


def asked(url: str, model: str, clients: int, seconds: float) -> list[float]:
    """How long each answer took that so many clients got in this time."""
    batch = np.random.default_rng(0).random((1, 3, 32, 32), dtype=np.float32)
    tensor = {"name": "images", "shape": batch.shape, "datatype": "FP32"}
    size = {"parameters": {"binary_data_size": batch.nbytes}}
    chosen = [{"name": "probabilities", "parameters": {"binary_data": True}}]
    text = json.dumps({"inputs": [tensor | size], "outputs": chosen}).encode()
    headers = {
        "Inference-Header-Content-Length": str(len(text)),
        "Content-Type": "application/octet-stream",
    }

    def client(_: int) -> list[float]:
        took = []
        with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as http:
            until = time.perf_counter() + seconds
            while (began := time.perf_counter()) < until:
                answer = http.post(f"/v2/models/{model}/infer", content=text + batch.tobytes())
                answer.raise_for_status()
                took.append(time.perf_counter() - began)
        return took

    with ThreadPoolExecutor(clients) as threads:
        return [each for took in threads.map(client, range(clients)) for each in took]


def measured(url: str, model: UUID, given: argparse.Namespace) -> dict[str, float]:
    """The rate and the latencies of all clients."""
    share = given.clients // given.processes
    with ProcessPoolExecutor(given.processes) as pool:
        asked(url, str(model), 1, 2.0)
        runs = [
            pool.submit(asked, url, str(model), share, given.seconds)
            for _ in range(given.processes)
        ]
        took = np.array([each for run in runs for each in run.result()])
    p50, p99 = np.percentile(took, [50, 99]) * 1000
    return {"per_second": len(took) / given.seconds, "median_ms": p50, "p99_ms": p99}


def main() -> None:
    """Measure, print a table, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    model = exported()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="headstart-bench-") as folder:
        told = {"HEADSTART_HOME": f"{folder}/home"}
        identity = seeded(told, model)
        for name, way in WAYS.items():
            print(f"{name} ...", file=sys.stderr, flush=True)
            with served(told | way, Path(folder), ready="/v2/health/ready") as (url, _):
                found[name] = measured(url, identity, given)
    print("| | requests/s | p50 ms | p99 ms |\n|---|---|---|---|")
    for name, each in found.items():
        print(f"| {name} | " + " | ".join(f"{value:.1f}" for value in each.values()) + " |")
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
