"""A pruned network's files: mask, weights, ONNX, card and figures; the manifest comes last."""

import time
from collections.abc import Mapping
from typing import Any

import torch

from core.domain.accuracy import wilson
from core.domain.datasets import Dataset
from core.domain.work import PruneInputs, PruneOutcome
from core.nas.images import LabelledImages
from core.nas.pruning.backbone import Backbone
from core.nas.pruning.channels import BLOCKS, ChannelComponents
from core.pipelines import bilevel, machine, stored_network
from core.pipelines.context import Context
from core.pipelines.pruning_notes import Mask, PruningNotes
from core.services import wire

_CAVEAT = (
    "The figures are of one seed. How much a learned mask is better than one by chance differs "
    "from dataset to dataset: the controls say what it is here. The formulation is our own "
    "reconstruction of differentiable pruning, not its authors'."
)


def write(
    context: Context,
    inputs: PruneInputs,
    notes: PruningNotes,
    components: ChannelComponents,
    network: Backbone,
    test: LabelledImages,
    full: Mapping[str, float],
) -> PruneOutcome:
    """Write and store everything. Raises AppError `onnx_mismatch` rather than ship a bad file.

    `components` are of the whole network, which costs what `full` says; `network` is what is left
    of it, trained.
    """
    folder, mask = context.scratch / "model", notes.masks["pruned"]
    folder.mkdir(exist_ok=True)
    started = time.perf_counter()
    _, difference = stored_network.write(folder, network, test, inputs.spec.resolution)
    notes.seconds["export"] = time.perf_counter() - started
    arms = dict(notes.arms)
    metrics = {
        "architecture": inputs.spec.architecture,
        "measure": inputs.spec.measure,
        "share": inputs.spec.wanted if inputs.spec.gamma is None else None,
        "gamma": inputs.spec.gamma,
        **arms.pop("pruned"),
        "full": dict(full),
        "controls": arms,
        "groups": _groups(components, mask),
        "blocks": _blocks(components, mask),
        "search": {"history": notes.search, "scores": notes.scores or None},
        "taken": notes.taken,
        "test_images": len(test),
        "onnx_difference": difference,
        "seconds": notes.seconds,
        "machine": machine.described(context),
    }
    stored_network.write_json(folder / "mask.json", mask)
    stored_network.write_json(folder / "metrics.json", metrics)
    stored_network.write_json(folder / "config.json", _config(inputs, test, mask))
    (folder / "README.md").write_text(card(inputs.dataset, inputs.source, metrics), "utf-8")
    artifacts, manifest = stored_network.publish(context, folder)
    return PruneOutcome(mask, metrics, artifacts, manifest.key, manifest.sha256, notes.embedding)


def card(dataset: Dataset, source: Dataset, metrics: Mapping[str, Any]) -> str:
    """What somebody who finds the files has to know."""
    rows = [("pruned", metrics), *metrics["controls"].items()]
    table = [_row(name, each, metrics["test_images"]) for name, each in rows]
    return "\n".join(
        [
            f"# {metrics['architecture']} for {dataset.name}",
            "",
            f"{100 * metrics['kept']:.1f} % of the {metrics['measure']} of the whole network are "
            f"left: {metrics['parameters']:,} of {metrics['full']['parameters']:,} parameters, "
            f"{metrics['flops']:,} of {metrics['full']['flops']:,} multiply-adds. The mask was "
            f"{_learned(source, metrics)}; what is left was trained on '{dataset.name}' "
            f"({dataset.n_train:,} train images).",
            "",
            "| network | parameters | test accuracy | 95 % interval |",
            "|---|---|---|---|",
            *table,
            "",
            _CAVEAT,
            "",
            "`model.onnx` reads `images` (float32, 0 to 1) and answers `logits` and "
            "`probabilities`, in the order of `classes` in `config.json`. `model.safetensors` has "
            "the weights, `mask.json` by group of channels which chunks stay.",
            "",
        ]
    )


def _learned(source: Dataset, metrics: Mapping[str, Any]) -> str:
    if metrics["search"]["history"]:
        gamma = metrics["gamma"]
        price = "" if gamma is None else f" at a price of {gamma:g} nats for the whole network"
        return f"learned on '{source.name}'{price}"
    taken = [_told(each) for each in metrics["taken"]]
    if len(taken) > 1:
        return f"combined of those learned on {', '.join(taken)}"
    return f"learned on {taken[0]}" if taken else "taken over from an earlier pruning"


def _told(taken: Mapping[str, Any]) -> str:
    far = taken["distance"]
    distance = "" if far is None else f", distance {far:.3g}"
    return f"'{taken['dataset_name']}' (pruning {taken['pruning_id']}{distance})"


def _row(name: str, figures: Mapping[str, Any], images: int) -> str:
    low, high = wilson(figures["test_accuracy"], images)
    accuracy = f"{100 * figures['test_accuracy']:.1f} %"
    between = f"{100 * low:.1f} to {100 * high:.1f} %"
    return f"| {name} | {figures['parameters']:,} | {accuracy} | {between} |"


def _config(inputs: PruneInputs, test: LabelledImages, mask: Mask) -> dict[str, Any]:
    return {
        "classes": inputs.dataset.classes,
        "dataset_sha256": inputs.dataset.sha256,
        "source_sha256": inputs.source.sha256,
        "architecture": inputs.spec.architecture,
        "input_channels": bilevel.INPUT_CHANNELS,
        "resolution": inputs.spec.resolution,
        "mean": test.mean.tolist(),
        "std": test.std.tolist(),
        "mask": mask,
        "spec": wire.dump(inputs.spec),
    }


def _groups(components: ChannelComponents, mask: Mask) -> list[dict[str, Any]]:
    """Of each group of coupled channels how many there are, and how many stay."""
    found = []
    for group in components.groups:
        chunks = torch.tensor(mask[group.name])
        chunk_of = torch.arange(group.width) * len(chunks) // group.width
        kept = int(chunks[chunk_of].sum())
        found.append({"name": group.name, "channels": group.width, "kept": kept})
    return found


def _blocks(components: ChannelComponents, mask: Mask) -> list[dict[str, Any]]:
    kept = mask.get(BLOCKS, [])
    names = [block.name for block in components.blocks]
    return [{"name": name, "kept": bool(each)} for name, each in zip(names, kept, strict=True)]
