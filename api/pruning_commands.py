"""`headstart prune` and `headstart prunings`: known networks made smaller for a dataset."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from api import terminal
from api.dataset_commands import AsJson, DatasetArgument
from api.search_commands import Label, Priority, Seed, Wait, finite, pairs
from api.web import words
from core.domain.prunings import Architecture, Counted, MaskPolicy
from headstart.schema import PruningView

LATEST = 20  # of a list


Network = Annotated[Architecture, typer.Option(help="Which network of torchvision.")]
Share = Annotated[
    float | None,
    typer.Option(
        help="Of it that is to be left.", callback=finite, show_default="0.5, or the mask's"
    ),
]
Gamma = Annotated[
    float | None,
    typer.Option(
        help="In place of a share: nats of loss that the whole network costs.",
        callback=finite,
        show_default="none",
    ),
]
Measure = Annotated[Counted | None, typer.Option(help="What the share or price is of.")]
Source = Annotated[
    str | None,
    typer.Option(
        help="The dataset that says what can go, if it is another one.",
        autocompletion=terminal.dataset_names,
    ),
]
Mask = Annotated[
    MaskPolicy | None,
    typer.Option(
        help="Search for it, or take over that of the nearest dataset, or combine several."
    ),
]
MaskFrom = Annotated[
    UUID | None, typer.Option(help="A pruning whose mask is taken; nothing is searched then.")
]
MasksFrom = Annotated[
    list[UUID] | None,
    typer.Option(
        help="With --mask combine: a pruning to take; give several.", show_default="the nearest"
    ),
]
Weights = Annotated[
    Path | None,
    typer.Option(help="A safetensors state of the whole network.", exists=True, dir_okay=False),
]
Inherit = Annotated[
    bool, typer.Option("--inherit", help="Go on from those weights, or the mask's network's.")
]
Blocks = Annotated[bool, typer.Option("--blocks", help="Let whole residual blocks go, too.")]
Controls = Annotated[
    bool,
    typer.Option(
        "--controls", help="Train the whole one, and others of the same size, to compare."
    ),
]
Resolution = Annotated[int | None, typer.Option(help="Side of its images in pixels.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs that learn what can go.")]
RetrainEpochs = Annotated[int | None, typer.Option(help="Epochs of each training.")]
LearningRate = Annotated[float | None, typer.Option(help="Of all of them.", callback=finite)]
Noise = Annotated[bool, typer.Option("--noise", help="Learn the mask from masks drawn by chance.")]
ResampleSteps = Annotated[
    int | None,
    typer.Option(help="Fresh weights every so many steps of learning it.", show_default="never"),
]


def prune(
    dataset: DatasetArgument,
    architecture: Network,
    share: Share = None,
    gamma: Gamma = None,
    measure: Measure = None,
    source: Source = None,
    mask: Mask = None,
    mask_from: MaskFrom = None,
    masks_from: MasksFrom = None,
    weights: Weights = None,
    inherit: Inherit = False,
    blocks: Blocks = False,
    controls: Controls = False,
    resolution: Resolution = None,
    epochs: Epochs = None,
    retrain_epochs: RetrainEpochs = None,
    learning_rate: LearningRate = None,
    noise: Noise = False,
    resample_steps: ResampleSteps = None,
    seed: Seed = None,
    label: Label = None,
    priority: Priority = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Make a known network smaller for a dataset, and train it."""
    body = terminal.given(
        architecture=architecture,
        share=share,
        gamma=gamma,
        measure=measure,
        mask_from=None if mask_from is None else str(mask_from),
        mask=mask,
        masks_from=[str(each) for each in masks_from or ()] or None,
        inherit=inherit or None,
        blocks=blocks or None,
        controls=controls or None,
        resolution=resolution,
        epochs=epochs,
        retrain_epochs=retrain_epochs,
        learning_rate=learning_rate,
        noise=noise or None,
        resample_steps=resample_steps,
        seed=seed,
        labels=pairs(label, what="--label") or None,
        priority=priority,
    )
    with terminal.server() as client:
        if weights is not None:
            with terminal.transfer() as sent:
                body["weights"] = client.uploads.send(weights, progress=sent)
        asked = client.prunings.create(dataset, source=source, **body)
        if not as_json:
            terminal.out.print(f"pruning {asked.id}")
            terminal.out.print(f"job {asked.job['id']}")
        if wait:
            terminal.watch(client, asked.job)
        found = client.prunings.get(asked.id)
    if as_json:
        terminal.show_json(found)
    elif wait:
        _show(found)


def prunings(
    pruning: Annotated[
        UUID | None, typer.Argument(help="The id of one; else the latest are listed.")
    ] = None,
    download: Annotated[
        Path | None, typer.Option(help="A folder that its files are put into.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show prunings of known networks, or one of them, and fetch its files."""
    with terminal.server() as client:
        if pruning is None:
            listed = client.prunings.list()
            found = [each for each, _ in zip(listed, range(LATEST), strict=False)]
            shown: Any = {"items": found}
        else:
            found = [client.prunings.get(str(pruning))]
            shown = found[0]
            if download is not None:
                client.prunings.download(str(pruning), download)
    if as_json:
        terminal.show_json(shown)
    elif pruning is None:
        headings = ("pruning", "network", "left", "test accuracy")
        terminal.show_table(headings, [_row(each) for each in found])
    else:
        _show(found[0])


def _row(each: PruningView) -> tuple[str, ...]:
    metrics = each["metrics"] or {}
    left, accuracy = metrics.get("kept"), metrics.get("test_accuracy")
    return (
        each["id"],
        each["spec"]["architecture"],
        words.percent(left),
        words.percent(accuracy),
    )


def _show(found: PruningView) -> None:
    metrics = found["metrics"]
    if metrics is None:
        terminal.out.print("its job has not succeeded yet")
        return
    rows = [("pruned", metrics), *metrics["controls"].items()]
    table = [_figures(name, each) for name, each in rows]
    terminal.show_table(("network", "parameters", "multiply-adds", "test accuracy"), table)
    for each in metrics.get("taken") or ():
        terminal.out.print(words.taken(each))
    files = [(each["name"], words.size(each["size"])) for each in found["artifacts"]]
    terminal.show_table(("file", "size"), files)


def _figures(name: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        name,
        words.count(each["parameters"]),
        words.count(each["flops"]),
        words.percent(each["test_accuracy"]),
    )
