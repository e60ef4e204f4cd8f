"""The demo's figures: what each arm reached, when, and at what cost; as JSON and as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

Json = Mapping[str, Any]


def best_arm(model: Json) -> Json:
    """The search run a model came from: the learning rate with the best validation accuracy."""
    metrics = model["metrics"]
    arm: Json = metrics["arms"][metrics["best_arm"]]
    return arm


def best_validation(model: Json) -> float:
    """The highest validation accuracy that the arm reached in any epoch."""
    return max(float(row["valid_accuracy"]) for row in best_arm(model)["history"])


def reached(history: Sequence[Json], accuracy: float) -> tuple[int | None, float | None]:
    """The first epoch, and the seconds since the start, at which validation reached `accuracy`."""
    for row in history:
        if row["valid_accuracy"] >= accuracy:
            return int(row["epoch"]), float(row["elapsed"])
    return None, None


def arm(search: Json, model: Json, *, cold_best: float, artifacts: Json) -> dict[str, Any]:
    """One column of the result: `ARM` of `docs/demo.md`."""
    metrics, chosen = model["metrics"], best_arm(model)
    epochs_95, seconds_95 = reached(chosen["history"], 0.95 * cold_best)
    epochs_100, seconds_100 = reached(chosen["history"], cold_best)
    return {
        "epochs_to_95": epochs_95,
        "epochs_to_100": epochs_100,
        "seconds_to_95": seconds_95,
        "seconds_to_100": seconds_100,
        "best_validation_accuracy": best_validation(model),
        "supernet_accuracy": metrics["supernet"]["test_accuracy"],
        "discretised_accuracy": metrics["discretised"]["test_accuracy"],
        "retrained_accuracy": metrics["retrained"]["test_accuracy"],
        "seconds": chosen["seconds"],
        "seconds_all_learning_rates": sum(item["seconds"] for item in metrics["arms"]),
        "seconds_race": metrics["seconds"].get("race", 0.0),
        "seconds_retraining": metrics["seconds"]["retrain"],
        "learning_rate": chosen["learning_rate"],
        "head": search["spec"]["head"],
        "source": search["start"].get("dataset_name") or search["start"].get("supernet_name"),
        "genotype": model["genotype"],
        "artifacts": dict(artifacts),
    }


def tables(result: Json) -> RenderableType:
    """The whole result for a terminal."""
    parts: list[RenderableType] = []
    for name, target in result["targets"].items():
        parts += [Text(), _ranking(name, target, result["ranking_seconds"][name]), _arms(target)]
    pretraining = ", ".join(f"{k} {v:.1f} s" for k, v in result["pretraining_seconds"].items())
    parts += [
        Text(),
        Text(
            f"Pretraining, paid once and listed apart: {pretraining}. Seed {result['seed']}."
            if pretraining
            else "Nothing was pretrained here: a supernet of other datasets comes with the "
            f"package (`headstart zoo list`). Seed {result['seed']}."
        ),
        Text(
            "Epochs and seconds are to a validation accuracy: 95 % and 100 % of the best that "
            "cold reached. Epoch 0 is the start itself, before any gradient step; a dash means "
            "never. Test accuracies are of images that no choice was made by. One seed, few "
            "images: differences of several points are noise."
        ),
    ]
    return Group(*parts)


def _ranking(name: str, target: Json, seconds: float) -> Table:
    table = Table(title=f"{name}: sources by OTDD ({seconds:.2f} s)", title_justify="left")
    for heading in ("source", "distance", "95 % interval", ""):
        table.add_column(heading, justify="left" if heading in ("source", "") else "right")
    for place, row in enumerate(target["ranking"]):
        low, high = row["interval"]
        tie = "tied with the nearest" if place and row["tied_with_nearest"] else ""
        table.add_row(row["source"], f"{row['distance']:.3f}", f"{low:.3f} to {high:.3f}", tie)
    return table


def _arms(target: Json) -> Table:
    columns = {
        title: target[arm]
        for arm, title in {
            "cold": "cold",
            "cold_closed_form_head": "cold, closed-form head",
            "warm": "warm",
        }.items()
        if arm in target
    }
    table = Table(show_edge=True)
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    for label, cell in _ROWS:
        table.add_row(label, *(cell(item) for item in columns.values()))
    return table


def _number(key: str, form: str) -> Any:
    def cell(item: Json) -> str:
        return "-" if item[key] is None else format(item[key], form)

    return cell


_ROWS = (
    ("start", lambda item: item["source"] or "random weights"),
    ("learning rate", _number("learning_rate", "g")),
    ("epochs to 95 % of cold's", _number("epochs_to_95", "d")),
    ("seconds to 95 %", _number("seconds_to_95", ".1f")),
    ("epochs to 100 %", _number("epochs_to_100", "d")),
    ("seconds to 100 %", _number("seconds_to_100", ".1f")),
    ("best validation accuracy", _number("best_validation_accuracy", ".1%")),
    ("test: supernet", _number("supernet_accuracy", ".1%")),
    ("test: discretised", _number("discretised_accuracy", ".1%")),
    ("test: retrained", _number("retrained_accuracy", ".1%")),
    ("race seconds, before the search", _number("seconds_race", ".1f")),
    ("search seconds", _number("seconds", ".1f")),
    ("search seconds, all rates", _number("seconds_all_learning_rates", ".1f")),
)
