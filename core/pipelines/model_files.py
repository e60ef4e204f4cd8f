"""A model's files: genotype, weights, ONNX, card, report; the manifest comes last."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from core import crash_points
from core.domain.datasets import Dataset
from core.domain.searches import Artifact
from core.errors import AppError
from core.nas import export
from core.nas.images import LabelledImages
from core.nas.network import Network, flops, parameter_count
from core.pipelines import objects, report
from core.pipelines.context import Context
from core.pipelines.derivation import RETRAIN_SHARE
from core.pipelines.notes import Notes
from core.pipelines.report import Findings, Mistake

TOLERANCE = 1e-4
_MOST_MISTAKES = 24
_MEDIA_TYPES = {
    ".json": "application/json",
    ".safetensors": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".md": "text/markdown",
    ".html": "text/html",
}


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What was stored."""

    genotype: Mapping[str, Any]
    metrics: Mapping[str, Any]
    artifacts: tuple[Artifact, ...]
    manifest: Artifact


def write(
    context: Context,
    *,
    dataset: Dataset,
    spec: Mapping[str, Any],
    written: Notes,
    network: Network,
    test: LabelledImages,
    retrained: Mapping[str, Any],
) -> ModelFiles:
    """Write and store everything. Raises AppError `onnx_mismatch` rather than ship a bad file."""
    folder = context.scratch / "model"
    folder.mkdir(exist_ok=True)
    difference = _weights(folder, network, test, written.start["resolution"])
    metrics = {
        **written.figures,
        "retrained": {**retrained, "history": written.live_history},
        "arms": written.arms,
        "best_arm": written.best_arm,
        "parameters": parameter_count(network),
        "flops": flops(network, written.start["resolution"]),
        "onnx_difference": difference,
        "seconds": written.seconds,
    }
    findings = Findings(
        dataset=dataset,
        ranking=written.ranking,
        start=written.start,
        spec=spec,
        genotype=network.genotype,
        metrics=metrics,
        mistakes=_mistakes(network, test, dataset.classes),
        resolution=written.start["resolution"],
        channels=network.space.input_channels,
        retrain_share=RETRAIN_SHARE,
    )
    genotype = json.loads(network.genotype.to_json())
    config = {
        "classes": dataset.classes,
        "dataset_sha256": dataset.sha256,
        "space": network.space.to_dict(),
        "resolution": findings.resolution,
        "mean": test.mean.tolist(),
        "std": test.std.tolist(),
        "start": written.start,
        "spec": spec,
    }
    _json(folder / "genotype.json", genotype)
    _json(folder / "metrics.json", metrics)
    _json(folder / "config.json", config)
    (folder / "README.md").write_text(report.card(findings), encoding="utf-8")
    (folder / "report.html").write_text(report.html(findings), encoding="utf-8")
    artifacts, manifest = _publish(context, folder)
    return ModelFiles(genotype, metrics, artifacts, manifest)


def _weights(folder: Path, network: Network, test: LabelledImages, resolution: int) -> float:
    state = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    network = network.cpu().eval()
    test = test.to("cpu")
    onnx = export.onnx_bytes(network, test.mean, test.std, resolution)
    difference = export.parity(onnx, network, test)
    if not difference <= TOLERANCE:
        raise AppError(
            f"the exported ONNX file differs from the trained network by {difference:.2e} on the "
            f"test images (at most {TOLERANCE:g} is allowed); nothing was stored",
            code="onnx_mismatch",
        )
    (folder / "model.onnx").write_bytes(onnx)
    return difference


@torch.no_grad()
def _mistakes(network: Network, test: LabelledImages, classes: tuple[str, ...]) -> list[Mistake]:
    network.eval()
    test = test.to("cpu")
    guesses = torch.cat([network(batch).argmax(dim=1) for batch, _ in test.batches(256)])
    wrong = (guesses != test.labels).nonzero().flatten()[:_MOST_MISTAKES].tolist()
    return [
        Mistake(test.images[at].numpy(), classes[int(test.labels[at])], classes[int(guesses[at])])
        for at in wrong
    ]


def _json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def _publish(context: Context, folder: Path) -> tuple[tuple[Artifact, ...], Artifact]:
    artifacts = tuple(
        objects.publish(
            context.store,
            context.key(f"model/{path.name}"),
            path,
            media_type=_MEDIA_TYPES[path.suffix],
        )
        for path in sorted(folder.iterdir())
    )
    _json(folder / "manifest.json", [asdict(item) for item in artifacts])
    crash_points.reach("before_manifest")
    manifest = objects.publish(
        context.store,
        context.key("model/manifest.json"),
        folder / "manifest.json",
        media_type="application/json",
    )
    crash_points.reach("after_manifest")
    return artifacts, manifest
