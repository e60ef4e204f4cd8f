"""The human side of a model: an HTML report with pictures, and a model card."""

import base64
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from core.domain.accuracy import wilson
from core.domain.datasets import Dataset, Ranking
from core.domain.searches import limit_of
from core.nas.genotype import Genotype
from core.nas.space import CELL_SPACES
from core.pictures import cells, curves, matrices

_MOST_CLASSES_DRAWN = 60
# Of the licences that the Hugging Face Hub knows, those that data are under.
_HUB_LICENCE = re.compile(
    r"cc0-1\.0|cc-by(-nc)?(-nd|-sa)?-4\.0|cc-by(-nc|-nc-nd|-nc-sa|-sa)?-3\.0|apache-2\.0|mit"
    r"|odbl|odc-by|pddl|cdla-(permissive-[12]|sharing-1)\.0"
)


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that the model gets wrong; pixels `uint8 [c, h, w]`."""

    pixels: NDArray[np.uint8]
    truth: str
    guess: str


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything the report and the card are written from."""

    dataset: Dataset
    ranking: Ranking | None
    start: Mapping[str, Any]
    spec: Mapping[str, Any]
    genotype: Genotype
    metrics: Mapping[str, Any]
    mistakes: Sequence[Mistake]
    resolution: int
    channels: int
    retrain_share: float


def html(findings: Findings) -> str:
    """A page that stands alone: no script, no file beside it."""
    metrics = findings.metrics
    return (
        _environment(autoescape=True)
        .get_template("report.html")
        .render(
            **_shared(findings),
            cells=_cells(findings.genotype),
            search_curves=_search_curves(metrics["arms"]) if metrics["arms"] else None,
            endings=_endings(metrics, findings.spec["training"]["epochs"]),
            retrain_curves=_retrain_curves(metrics["retrained"]["history"]),
            confusion=_confusion(findings),
            mistakes=[_shown(item) for item in findings.mistakes],
            costs=_costs(metrics),
            race=findings.start.get("race"),
            raced=_raced(findings.start),
        )
    )


def card(findings: Findings) -> str:
    """A model card in the Hugging Face form."""
    # Markdown, not HTML: user text goes through `quoted` (JSON is YAML) or `heading`.
    template = _environment(autoescape=False).get_template("model_card.md")
    return template.render(
        **_shared(findings),
        licence=_licence(findings.dataset.licence),
        # Not in ASCII: JSON's escape of what is beyond 16 bits is none of YAML's.
        quoted=lambda text: json.dumps(_plain(text), ensure_ascii=False),
        heading=lambda text: re.sub(r"[^\w .,()+-]", " ", text),
    )


def _licence(said: str | None) -> dict[str, str | None]:
    """What a dataset's owner said of its licence, as the Hub's metadata has it."""
    if said is None:
        return {"id": "unknown", "name": None}
    known = "-".join(said.lower().split())
    if _HUB_LICENCE.fullmatch(known):
        return {"id": known, "name": None}
    return {"id": "other", "name": said}


def start_sentence(start: Mapping[str, Any], *, given: bool = False) -> str:
    """How the search began, in words, if there was one."""
    if given:
        return "The architecture was given, and trained from random weights without a search."
    head = (
        "with a random classifier"
        if start["head"] == "random"
        else "with its classifier solved in closed form"
    )
    if start["supernet_id"] is None:
        reason = start.get("reason")
        return f"The search began cold, from random weights, {head}" + (
            f" ({reason})." if reason else "."
        )
    changed = start.get("adapted") or {"from": {}}
    steps = [
        f"{field.replace('_', ' ')} {own} to {changed['to'][field]}"
        for field, own in changed["from"].items()
    ]
    adapted = f", adapted from {' and '.join(steps)}" if steps else ""
    dataset = start["dataset_name"]
    name = start.get("supernet_name") if dataset is None else f"trained on {dataset}"
    return f"The search began from the supernet {name}{adapted}, {head}."


def _environment(*, autoescape: bool) -> Environment:
    environment = Environment(
        loader=PackageLoader("core.pipelines"),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["percent"] = lambda share: f"{100 * share:.1f} %"
    return environment


def _shared(findings: Findings) -> dict[str, Any]:
    retrained = findings.metrics["retrained"]
    given = findings.spec.get("genotype") is not None
    return {
        "dataset": findings.dataset,
        "ranking": findings.ranking,
        "metrics": findings.metrics,
        "interval": wilson(retrained["test_accuracy"], findings.dataset.n_test),
        "given": given,
        "start_sentence": _plain(start_sentence(findings.start, given=given)),
        "limit": limit_of(findings.spec),
        "spec": json.dumps(findings.spec, indent=2),
        "retrain_share": findings.retrain_share,
        "spec_seed": findings.spec["training"]["seed"],
        "resolution": findings.resolution,
        "channels": findings.channels,
    }


def _plain(text: str) -> str:
    return "".join(character for character in text if character.isprintable())


def _cells(genotype: Genotype) -> list[Markup]:
    space = CELL_SPACES[genotype.cells]
    named = (("Normal cell", genotype.normal), ("Reduction cell", genotype.reduction))
    return [
        _svg(
            cells.draw_cell(
                [[(edge.operation, edge.source) for edge in node] for node in cell],
                title=title if space.reduction else "Cell",
                inputs=space.inputs,
                concatenated=space.concatenated,
            )
        )
        for title, cell in named
        if cell
    ]


def _svg(text: str) -> Markup:
    # Our own drawing; it escapes every label it is given.
    return Markup(text)


def _search_curves(arms: Sequence[Mapping[str, Any]]) -> Markup:
    series = [_series(f"learning rate {arm['learning_rate']:g}", arm["history"]) for arm in arms]
    return _svg(
        curves.draw_curves(
            series,
            title="Search: validation accuracy of the supernet",
            x_label="epoch",
            y_label="accuracy",
            y_range=(0.0, 1.0),
        )
    )


def _endings(metrics: Mapping[str, Any], epochs: int) -> list[str]:
    """Which searches ended early, and how long retraining took then."""
    told = [
        f"At learning rate {arm['learning_rate']:g} the search ended after "
        f"{arm['history'][-1]['epoch']} of {epochs} epochs ({arm['history'][-1]['stopped']})."
        for arm in metrics["arms"]
        if arm["history"] and arm["history"][-1].get("stopped")
    ]
    if told:
        told.append(f"Retraining had {len(metrics['retrained']['history']) - 1} epochs.")
    return told


def _retrain_curves(history: Sequence[Mapping[str, Any]]) -> Markup:
    return _svg(
        curves.draw_curves(
            [_series("validation", history)],
            title="Retraining: validation accuracy of the derived network",
            x_label="epoch",
            y_label="accuracy",
            y_range=(0.0, 1.0),
        )
    )


def _series(name: str, history: Sequence[Mapping[str, Any]]) -> curves.Series:
    epochs = [float(row["epoch"]) for row in history]
    return curves.Series(name, epochs, [float(row["valid_accuracy"]) for row in history])


def _confusion(findings: Findings) -> Markup:
    names = findings.dataset.classes
    if len(names) > _MOST_CLASSES_DRAWN:
        return Markup("<p>Too many classes to draw; the matrix is in metrics.json.</p>")
    drawing = matrices.draw_matrix(
        findings.metrics["retrained"]["confusion"],
        rows=names,
        columns=names,
        title="Confusion on the test split",
        row_label="true class",
        column_label="predicted class",
    )
    return _svg(drawing)


def _shown(mistake: Mistake) -> dict[str, str]:
    pixels = (
        mistake.pixels[0] if mistake.pixels.shape[0] == 1 else mistake.pixels.transpose(1, 2, 0)
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    image = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"image": image, "truth": mistake.truth, "guess": mistake.guess}


def _raced(start: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """The contestants of a race for the start, each as its last measured rung left it."""
    race, rows = start.get("race") or {"contestants": []}, []
    for each in race["contestants"]:
        measured = [rung for rung in each["rungs"] if rung["valid_accuracy"] is not None]
        accuracy, epochs = "", ""
        if measured:
            share, error = measured[-1]["valid_accuracy"], measured[-1]["standard_error"]
            accuracy = f"{100 * share:.1f} \N{PLUS-MINUS SIGN} {100 * error:.1f} %"
            epochs = str(measured[-1]["epochs"])
        out = "won" if each["name"] == race["winner"] else each["out"] or ""
        rows.append((each["name"], epochs, accuracy, f"{each['seconds']:.1f}", out))
    return rows


def _costs(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [(f"{name} seconds", f"{value:.1f}") for name, value in metrics["seconds"].items()]
    rows.append(("parameters", f"{metrics['parameters']:,}"))
    rows.append(("multiply-adds per image", f"{metrics['flops']:,}"))
    rows.append(("ONNX difference from torch, at most", f"{metrics['onnx_difference']:.1e}"))
    return rows
