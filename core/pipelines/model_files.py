"""A model's files: genotype, weights, ONNX, card, report; the manifest comes last."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.domain.datasets import Dataset
from core.domain.searches import Artifact
from core.nas import alike
from core.nas.images import LabelledImages
from core.nas.network import Network, flops, parameter_count
from core.pipelines import machine, report, stored_network
from core.pipelines.context import Context
from core.pipelines.derivation import RETRAIN_SHARE
from core.pipelines.notes import Notes
from core.pipelines.report import Findings, Mistake

_MOST_MISTAKES = 24


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
    train: LabelledImages,
    test: LabelledImages,
    retrained: Mapping[str, Any],
) -> ModelFiles:
    """Write and store everything. Raises AppError `onnx_mismatch` rather than ship a bad file."""
    folder = context.scratch / "model"
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    onnx, difference = stored_network.write(folder, network, test, written.start["resolution"])
    _alike(folder, onnx, network, train)
    written.seconds["export"] = time.perf_counter() - started
    metrics = {
        **written.figures,
        "retrained": {**retrained, "history": written.live_history},
        "arms": written.arms,
        "best_arm": written.best_arm,
        "parameters": parameter_count(network),
        "flops": flops(network, written.start["resolution"]),
        "onnx_difference": difference,
        "seconds": written.seconds,
        "machine": machine.described(context),
    }
    findings = Findings(
        dataset=dataset,
        ranking=written.ranking,
        start=written.start,
        spec=spec,
        genotype=network.genotype,
        metrics=metrics,
        mistakes=_mistakes(retrained, test, dataset.classes),
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
    stored_network.write_json(folder / "genotype.json", genotype)
    stored_network.write_json(folder / "metrics.json", metrics)
    stored_network.write_json(folder / "config.json", config)
    (folder / "README.md").write_text(report.card(findings), encoding="utf-8")
    (folder / "report.html").write_text(report.html(findings), encoding="utf-8")
    artifacts, manifest = stored_network.publish(context, folder)
    return ModelFiles(genotype, metrics, artifacts, manifest)


def _alike(folder: Path, onnx: bytes, network: Network, train: LabelledImages) -> None:
    places = alike.stratified(train.labels)
    known = train.take(places).to("cpu")
    index = alike.index_bytes(onnx, network, known, places.cpu())
    (folder / "alike.onnx").write_bytes(index)


def _mistakes(
    retrained: Mapping[str, Any], test: LabelledImages, classes: tuple[str, ...]
) -> list[Mistake]:
    """Of each of the heaviest confusions the image whose answer was the most certain."""
    return [
        Mistake(
            test.images[each["images"][0]].cpu().numpy(),
            classes[each["true"]],
            classes[each["predicted"]],
        )
        for each in retrained["confused"][:_MOST_MISTAKES]
    ]
