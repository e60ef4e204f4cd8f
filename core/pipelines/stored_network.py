"""A trained network's files: weights, and ONNX that computes the same; the manifest comes last."""

import json
from dataclasses import asdict
from pathlib import Path

from safetensors.torch import save_file

from core import crash_points
from core.domain.searches import Artifact
from core.errors import AppError
from core.nas import export
from core.nas.classifier import ImageClassifier
from core.nas.images import LabelledImages
from core.pipelines import objects
from core.pipelines.context import Context

TOLERANCE = 1e-4
_MEDIA_TYPES = {
    ".json": "application/json",
    ".safetensors": "application/octet-stream",
    ".onnx": "application/octet-stream",
    ".md": "text/markdown",
    ".html": "text/html",
}


def write(
    folder: Path, network: ImageClassifier, test: LabelledImages, resolution: int
) -> tuple[bytes, float]:
    """Both files; the ONNX model, and how far its answers are from the network's.

    Raises AppError `onnx_mismatch` rather than ship a bad file.
    """
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
    return onnx, difference


def write_json(path: Path, value: object) -> None:
    """One file of plain values."""
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def publish(context: Context, folder: Path) -> tuple[tuple[Artifact, ...], Artifact]:
    """Store every file of a folder, and the manifest that lists them after the last."""
    artifacts = tuple(
        objects.publish(
            context.store,
            context.key(f"model/{path.name}"),
            path,
            media_type=_MEDIA_TYPES[path.suffix],
        )
        for path in sorted(folder.iterdir())
    )
    write_json(folder / "manifest.json", [asdict(item) for item in artifacts])
    crash_points.reach("before_manifest")
    manifest = objects.publish(
        context.store,
        context.key("model/manifest.json"),
        folder / "manifest.json",
        media_type="application/json",
    )
    crash_points.reach("after_manifest")
    return artifacts, manifest
