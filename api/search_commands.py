"""`headstart search` and what belongs to it: asked for, estimated, asked for once more."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

import headstart
from api import findings, terminal
from api.dataset_commands import AsJson, DatasetArgument
from api.web import words
from core.domain.searches import Method, Objective, Selection, StartPolicy, TradeOffs
from headstart.schema import EstimateView, IntervalView


def finite(given: float | None) -> float | None:
    """Raises typer.BadParameter for what is no number, and for what has no end."""
    if given is not None and not math.isfinite(given):
        raise typer.BadParameter(f"{given} is no number that can be asked for")
    return given


Policy = Annotated[
    StartPolicy | None, typer.Option(help="Where to start; else the winner of a short race.")
]
Supernet = Annotated[UUID | None, typer.Option(help="The source of policy supernet.")]
Epochs = Annotated[int | None, typer.Option(help="Epochs of the search.")]
RetrainEpochs = Annotated[int | None, typer.Option(help="Epochs of the retraining.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
MethodOption = Annotated[Method | None, typer.Option(help="How alphas are fitted.")]
Cells = Annotated[str | None, typer.Option(help="Cell space of a cold start.")]
Channels = Annotated[int | None, typer.Option(help="Width of its first cell.")]
Layers = Annotated[int | None, typer.Option(help="Its cells.")]
Resolution = Annotated[int | None, typer.Option(help="Side of its images in pixels.")]
SelectionOption = Annotated[
    Selection | None, typer.Option(help="How cells are chosen in the end.")
]
AtMostOption = Annotated[
    list[str] | None,
    typer.Option(
        "--at-most", help="What its network may cost: 50000 (parameters) or flops=2000000."
    ),
]
Budget = Annotated[
    list[str] | None,
    typer.Option(help="The most it may take: 600 (seconds), gpu_seconds=300 or epochs=30."),
]
Deadline = Annotated[
    str | None, typer.Option(help="When it has to be over, as 2026-01-31T12:00:00Z.")
]
Label = Annotated[
    list[str] | None, typer.Option(help="name=value, to find it by; may be repeated.")
]
Priority = Annotated[
    int | None, typer.Option(help="From -100 to 100; higher ones are begun sooner.")
]
LearningRates = Annotated[
    list[float] | None,
    typer.Option(
        "--learning-rate",
        callback=lambda given: [finite(each) for each in given or ()],
        help="May be repeated: the best one is kept; else one that suits the start.",
    ),
]
Patience = Annotated[
    int | None,
    typer.Option(help="Epochs without progress that end the search; 0: it runs to its end."),
]
Adapt = Annotated[
    bool, typer.Option("--adapt", help="Adapt a warm start's source to that space, too.")
]
Genotype = Annotated[
    Path | None,
    typer.Option(
        help="genotype.json of a model: train these cells, with no search, in the space given.",
        exists=True,
        dir_okay=False,
    ),
]
Objectives = Annotated[
    list[Objective] | None,
    typer.Option(
        "--objective", help="May be repeated: list the cells that trade it off with accuracy."
    ),
]
TradeOffsOption = Annotated[TradeOffs | None, typer.Option(help="How those cells are found.")]
Wait = Annotated[bool, typer.Option("--wait", help="Stay and show progress until it ends.")]


def search(
    dataset: DatasetArgument,
    policy: Policy = None,
    supernet: Supernet = None,
    epochs: Epochs = None,
    seed: Seed = None,
    learning_rates: LearningRates = None,
    patience: Patience = None,
    retrain_epochs: RetrainEpochs = None,
    method: MethodOption = None,
    cells: Cells = None,
    channels: Channels = None,
    layers: Layers = None,
    resolution: Resolution = None,
    genotype: Genotype = None,
    adapt: Adapt = False,
    selection: SelectionOption = None,
    at_most: AtMostOption = None,
    objectives: Objectives = None,
    trade_offs: TradeOffsOption = None,
    contribute: Annotated[
        bool, typer.Option("--contribute", help="Let later searches start from its supernet.")
    ] = False,
    budget: Budget = None,
    deadline: Deadline = None,
    label: Label = None,
    priority: Priority = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Search an architecture for a dataset."""
    body = terminal.given(
        **_start(policy, supernet, genotype),
        learning_rates=learning_rates or None,
        patience=patience,
        retrain_epochs=retrain_epochs,
        selection=selection,
        at_most=pairs(at_most, plain="parameters", what="--at-most") or None,
        objectives=objectives or None,
        trade_offs=trade_offs,
        contribute=contribute or None,
        training=terminal.given(epochs=epochs, seed=seed, method=method),
        space=terminal.given(cells=cells, channels=channels, layers=layers, resolution=resolution),
        adapt=adapt,
        budget=pairs(budget, plain="seconds", what="--budget") or None,
        deadline=deadline,
        labels=pairs(label, what="--label") or None,
        priority=priority,
    )
    with terminal.server() as client:
        _follow(client, client.searches.create(dataset, **body), wait=wait, as_json=as_json)


def estimate(
    dataset: DatasetArgument,
    policy: Policy = None,
    supernet: Supernet = None,
    epochs: Epochs = None,
    learning_rates: LearningRates = None,
    patience: Patience = None,
    retrain_epochs: RetrainEpochs = None,
    method: MethodOption = None,
    cells: Cells = None,
    channels: Channels = None,
    layers: Layers = None,
    resolution: Resolution = None,
    genotype: Genotype = None,
    adapt: Adapt = False,
    selection: SelectionOption = None,
    at_most: AtMostOption = None,
    objectives: Objectives = None,
    trade_offs: TradeOffsOption = None,
    budget: Budget = None,
    deadline: Deadline = None,
    as_json: AsJson = False,
) -> None:
    """Say what a search would take, and what it would try."""
    body = terminal.given(
        **_start(policy, supernet, genotype),
        learning_rates=learning_rates or None,
        patience=patience,
        retrain_epochs=retrain_epochs,
        selection=selection,
        at_most=pairs(at_most, plain="parameters", what="--at-most") or None,
        objectives=objectives or None,
        trade_offs=trade_offs,
        training=terminal.given(epochs=epochs, method=method),
        space=terminal.given(cells=cells, channels=channels, layers=layers, resolution=resolution),
        adapt=adapt,
        budget=pairs(budget, plain="seconds", what="--budget") or None,
        deadline=deadline,
    )
    with terminal.server() as client:
        found = client.searches.estimate(dataset, **body)
    if as_json:
        terminal.show_json(found)
    else:
        _show_estimate(found)


def clone(
    search_id: Annotated[str, typer.Argument(metavar="SEARCH", help="The id of a search.")],
    epochs: Epochs = None,
    retrain_epochs: RetrainEpochs = None,
    seed: Seed = None,
    at_most: AtMostOption = None,
    budget: Budget = None,
    deadline: Deadline = None,
    label: Label = None,
    priority: Priority = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Search once more as an earlier search did, but for what is given."""
    limit = pairs(at_most, plain="parameters", what="--at-most")
    body = terminal.given(
        retrain_epochs=retrain_epochs,
        training=terminal.given(epochs=epochs, seed=seed),
        # In place of the earlier limit, whichever of the two that was.
        at_most={"parameters": None, "flops": None, **limit} if limit else None,
        budget=pairs(budget, plain="seconds", what="--budget") or None,
        deadline=deadline,
        labels=pairs(label, what="--label") or None,
        priority=priority,
    )
    with terminal.server() as client:
        _follow(client, client.searches.clone(search_id, **body), wait=wait, as_json=as_json)


def replay(
    config: Annotated[
        Path, typer.Argument(help="config.json of a model.", exists=True, dir_okay=False)
    ],
    label: Label = None,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Search again as a model's config.json tells: the same images, start, settings and seed."""
    read = _json(config, "CONFIG")
    labels = pairs(label, what="--label")
    with terminal.server() as client:
        asked = client.searches.replay(config=read, labels=labels)
        _follow(client, asked, wait=wait, as_json=as_json)


def _start(
    policy: StartPolicy | None, supernet: UUID | None, genotype: Path | None
) -> dict[str, Any]:
    """To name a supernet is to ask to start from it, to give cells to start from nothing."""
    if genotype is not None:
        given = _json(genotype, "--genotype")
        return {"policy": policy or StartPolicy.COLD, "genotype": given}
    if supernet is None:
        return {"policy": policy}
    return {"policy": policy or StartPolicy.SUPERNET, "supernet_id": str(supernet)}


def _follow(
    client: headstart.Client, asked: headstart.Search, *, wait: bool, as_json: bool
) -> None:
    if not as_json:
        terminal.out.print(f"search {asked.id}")
        terminal.out.print(f"job {asked.job['id']}")
    if wait:
        job = terminal.watch(client, asked.job)
    found = client.searches.get(asked.id)
    if as_json:
        terminal.show_json(found)
    elif wait:
        findings.show_start(found["start"] or {})
        terminal.show_model(client.models.get(str(found["model_id"])))
        terminal.show_made(job)


def pairs(given: Sequence[str] | None, *, what: str, plain: str | None = None) -> dict[str, Any]:
    """`name=value` each; a bare value is that of `plain`, whose values are numbers. Raises
    typer.BadParameter."""
    found: dict[str, Any] = {}
    for each in given or ():
        name, said, value = each.partition("=")
        if not said and plain is not None:
            name, value = plain, each
        elif not said:
            raise typer.BadParameter(f"{each!r} is not name=value", param_hint=what)
        found[name] = _number(value, what) if plain is not None else value
    return found


def _json(file: Path, what: str) -> Any:
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise typer.BadParameter("that is no JSON", param_hint=what) from error


def _number(text: str, what: str) -> float:
    try:
        number = float(text)
        finite(number)
    except (ValueError, typer.BadParameter) as error:
        raise typer.BadParameter(f"{text!r} is no number", param_hint=what) from error
    return number


def _show_estimate(found: EstimateView) -> None:
    rows = [
        ("computing", _between(found["seconds"], words.duration)),
        ("GPU", _between(found["gpu_seconds"], words.duration)),
        ("memory", _between(found["host_bytes"], words.size)),
        ("GPU memory", _between(found["gpu_bytes"], words.size)),
        ("least budget", _between(found["least_seconds"], words.duration)),
    ]
    shown = [(name, *both) for name, both in rows if both is not None]
    terminal.show_table(("", "expected", "four of five"), shown)
    starts = ", ".join(each["name"] for each in found["trial"]["starts"])
    terminal.out.print(f"starts: {starts or 'none, the cells are given'}", markup=False)
    basis = found["basis"]
    told = f"rests on {basis['searches']} finished searches on {basis['device']}"
    terminal.out.print(told if basis["searches"] else "rests on one reference machine alone")


def _between(found: IntervalView, said: Any) -> tuple[str, str] | None:
    if not found["high"]:
        return None
    low, high = said(round(found["low"])), said(round(found["high"]))
    return said(round(found["expected"])), f"{low} to {high}"
