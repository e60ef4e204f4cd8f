"""The report: every figure from the JSON, misses said as plainly as hits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean, median
from typing import Any

from tests.benchmarks.transfer import verdicts
from tests.benchmarks.transfer.spelling import (
    UNKNOWN,
    bracket,
    filled,
    percent,
    points,
    signed,
    table,
    times,
)

NAMES: Mapping[str, str] = {
    "cold": "cold, random head, own best rate",
    "cold_closed_form": "cold, solved head",
    "nearest": "nearest task's supernet",
    "farthest": "farthest task's supernet",
    "random": "random task's supernet",
    "multi": "supernet of several tasks",
    "race": "race (the default)",
    "nearest_straight": "nearest, no search",
    "multi_straight": "several tasks, no search",
    "random_cell": "random cell from scratch, as many seconds",
    "resnet18": "fine-tuned ResNet18",
}
_STARTS = ("cold_closed_form", "nearest", "farthest", "random", "multi", "race")
_UNSEARCHED = ("nearest_straight", "multi_straight", "random_cell", "resnet18")
_SIDES = ("nearest", "multi", "race")


def write(found: Mapping[str, Any], *, picture: str) -> str:
    """The whole document in Markdown; `picture` is the file of the curves beside it."""
    parts = [
        _opening(found),
        "## In short\n\n" + "\n".join(f"- {line}" for line in conclusions(found)),
        verdicts.section(found),
        f"![Accuracy of the supernets over time]({picture})",
        _searches(found),
        _models(found),
        _gaps(found),
        _distance(found),
        _targets(found),
        _costs(found),
        _limits(found),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(found: Mapping[str, Any]) -> str:
    own, machine = found["settings"], found["machine"]
    return "# Does a head start pay?\n\n" + filled(
        f"""Written by `make bench-transfer` from its figures alone. Scale **{found["scale"]}**:
        {len(found["targets"])} targets of a suite of {own["suite_tasks"]} tasks, {own["seeds"]}
        seed(s); images of {own["side"]}x{own["side"]} pixels, C={own["channels"]},
        {own["layers"]} layers, at most {own["images"]} train images (half of them move weights in
        a search) and {own["tested"]} test images, batches of {own["batch_size"]}; searches of
        {own["epochs"]} epochs and retraining of {own["retrain_epochs"]}. {_patience(own)}
        The machine has {machine["cores"]} {machine["processor"]} cores and computed on
        {machine["device"]}, one thread for each arm, with PyTorch {machine["torch"]}.""",
        f"""No source has seen the target: single sources are other tasks; for supernets of several
        tasks the suite is dealt into {own["folds"]} folds by a hash of the names, and a target
        starts from the supernet trained on the other folds. Everything is compared with a **cold**
        start with a random head that had the best of the learning rates
        {_listed(own["cold_rates"])} by validation accuracy and paid for that one only; warm starts
        had {own["warm_rate"]:g}, the cold one with a solved head
        {own["cold_solved_rate"]:g}, as in the product: their heads are solved in closed form at
        the start and after every epoch. {_retrained(own["request"])}
        Seconds are {_clock(own)}; ranking and racing are in them, pretraining is not (it is listed
        below).""",
        """Speed-ups are cold's seconds over the arm's until 95 % or 100 % of the best validation
        accuracy that the cold search ever has. An arm that never gets there counts as 0 in
        medians. Brackets are 95 % bootstrap intervals: targets are resampled, then seeds.""",
    )


def _patience(settings: Mapping[str, Any]) -> str:
    asked = settings["request"]["patience"]
    if asked == 0:
        return "No search ends early."
    waits = "a tenth of their epochs" if asked is None else f"{asked} epochs"
    return f"""As in the product, all but the plain cold search end when they have not become
    better, beyond noise, for {waits}, and spend on retraining what they save: two epochs for
    one."""


def _retrained(request: Mapping[str, Any]) -> str:
    rate, solved = request["retrain_learning_rate"], request["retraining"].get("solve_head")
    head = "solved after every epoch, too" if solved else "descended like all other weights"
    return f"Retraining began at rate {rate:g}, its heads {head}."


def _clock(settings: Mapping[str, Any]) -> str:
    return "CPU seconds of one thread" if settings["device"] == "cpu" else "wall-clock seconds"


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def conclusions(found: Mapping[str, Any]) -> Iterator[str]:
    """What the intervals allow to be said of each start, and what they do not."""
    for policy in _present(found, _STARTS):
        own = found["overall"][policy]
        yield (
            f"{NAMES[policy]}: {_speed(own)} {_accuracy(own)} Ahead of cold on average over its "
            f"search in {percent(own['positive_fraction'])} of the runs; model not clearly worse "
            f"than cold's in {percent(own['not_worse_fraction'])}."
        )
    for policy in _present(found, _UNSEARCHED):
        own = found["overall"][policy]
        ratio = times(own["median_model_speedup"])
        yield (
            f"{NAMES[policy]}: to a model as accurate as cold's {ratio} "
            f"{bracket(own['model_speedup_interval'], times)}. {_accuracy(own)}"
        )
    yield _correlated(found["distance_gain_spearman"])
    if found["missing"]:
        yield f"Not finished, and in no figure: {len(found['missing'])} arms."


def _speed(own: Mapping[str, Any]) -> str:
    value, bounds = own["median_speedup_95"], own["speedup_95_interval"]
    told = f"speed-up to 95 % of cold's best {times(value)} {bracket(bounds, times)}"
    if value == 0:
        return f"**most runs never reach 95 % of cold's best** {bracket(bounds, times)}."
    if bounds is None:
        return f"{told}: too few targets to tell."
    if bounds[0] > 1:
        return f"**faster**: {told}."
    if bounds[1] < 1:
        return f"**slower**: {told}."
    return f"**no speed-up shown**: {told}."


def _accuracy(own: Mapping[str, Any]) -> str:
    value, bounds = own["mean_retrained_difference"], own["retrained_difference_interval"]
    told = f"{points(value)} points {bracket(bounds, points)}"
    if bounds is None:
        return f"Retrained model {told}: too few targets to tell."
    if bounds[0] > 0:
        return f"Retrained model **better**: {told}."
    if bounds[1] < 0:
        return f"Retrained model **worse**: {told}."
    return f"No difference of the retrained models shown: {told}."


def _correlated(found: Mapping[str, Any]) -> str:
    value, bounds = found["within_target"], found["within_target_interval"]
    if value is None or bounds is None:
        return "Distance and gain: too few targets to tell."
    told = f"Spearman's correlation {value:+.2f} {bracket(bounds, signed)}"
    if bounds[1] < 0:
        return f"**Nearer sources gain more**: {told}."
    if bounds[0] > 0:
        return f"**Nearer sources gain less**: {told}."
    return f"**It is not shown that nearer sources gain more**: {told}."


def _searches(found: Mapping[str, Any]) -> str:
    head = (
        "start", "runs", "to 95 %", "to 100 %", "to 95 % in epochs", "never 95 %", "ahead, points",
        "ahead in runs", "supernet, test", "overhead",
    )  # fmt: skip
    body = [
        (
            NAMES[policy],
            str(own["pairs"]),
            f"{times(own['median_speedup_95'])} {bracket(own['speedup_95_interval'], times)}",
            f"{times(own['median_speedup_100'])} {bracket(own['speedup_100_interval'], times)}",
            times(own["median_epoch_speedup_95"]),
            percent(own["never_95"]),
            f"{points(own['mean_ahead_seconds'])} "
            f"{bracket(own['ahead_seconds_interval'], points)}",
            percent(own["positive_fraction"]),
            f"{points(own['mean_supernet_difference'])} "
            f"{bracket(own['supernet_difference_interval'], points)}",
            percent(own["overhead_fraction"]),
        )
        for policy in _present(found, _STARTS)
        for own in [found["overall"][policy]]
    ]
    won = ", ".join(f"{NAMES.get(arm, 'second nearest')} {count}" for arm, count in
                    sorted(found["race_winners"].items()))  # fmt: skip
    told = filled(
        """Medians of cold's time over the arm's; "ahead" is the mean difference of validation
        accuracies over the cold search's seconds, in which an arm knows nothing before it has
        started; the race's winner was measured in the race, when it was its turn; "supernet,
        test" the mean difference of test accuracies when the search is over; overhead the share
        of ranking and racing in all seconds until the model is retrained. In epochs the start
        counts as a quarter."""
    )
    won = won or "nobody yet"
    return f"## Searching\n\n{told}\n\n{table(head, body)}\n\nWho won the race: {won}."


def _models(found: Mapping[str, Any]) -> str:
    head = (
        "start", "retrained, test", "difference to cold", "median", "at least cold's",
        "not clearly worse", "as good as cold's model after", "seconds in all",
    )  # fmt: skip
    everyone = _present(found, NAMES)
    body = [
        (
            NAMES[policy],
            f"{100 * own['mean_retrained_test']:.1f}",
            f"{points(own['mean_retrained_difference'])} "
            f"{bracket(own['retrained_difference_interval'], points)}",
            points(own["median_retrained_difference"]),
            percent(own["at_least_fraction"]),
            percent(own["not_worse_fraction"]),
            f"{times(own['median_model_speedup'])} "
            f"{bracket(own['model_speedup_interval'], times)}",
            f"{own['median_total_seconds']:.0f}",
        )
        for policy in everyone
        for own in [found["overall"][policy]]
    ]
    absent = "" if "resnet18" in everyone else " No ResNet18 was run: its weights were not given."
    told = filled(
        f"""Test accuracies in per cent, differences in points. "Not clearly worse" allows two
        standard errors of the paired difference on the test images. "As good as cold's model
        after" is the median of cold's seconds from upload to its retrained model over the arm's to
        one as accurate on the test images, at whatever epoch of its retraining. Without a search
        all of its epochs are spent on retraining. "As many seconds" are those of the cold start
        in all, for training alone.{absent}"""
    )
    return f"## The model\n\n{told}\n\n{table(head, body)}"


def _gaps(found: Mapping[str, Any]) -> str:
    head = ["start", "supernet, test"]
    for cells in ("by alphas", "by score"):
        head += [f"{cells}: difference", "median", "over random cells", "targets above random"]
    body = []
    for policy in _present(found, NAMES):
        own = found["overall"][policy]
        if "mean_discretisation_gap" not in own:
            continue
        row = [NAMES[policy], f"{100 * own['mean_supernet_test']:.1f}"]
        for prefix in ("", "scored_"):
            gap, gain = f"{prefix}discretisation_gap", f"{prefix}chosen_over_random"
            row += [
                f"{points(-own[f'mean_{gap}'])} "
                f"{bracket(_negated(own[f'{gap}_interval']), points)}",
                points(-own[f"median_{gap}"]),
                f"{points(own[f'mean_{gain}'])} {bracket(own[f'{gain}_interval'], points)}",
                percent(own[f"{prefix}over_random_targets"]),
            ]
        body.append(row)
    settings = found["settings"]
    told = filled(
        f"""What is lost when one cell is made of the mixture, before any retraining (its head is
        solved anew, so it may gain), and what choosing gains over {settings["random_cells"]}
        random cells of equal size with weights of the same supernet. "By alphas" is how the
        product chooses cells; "by score" is its other way, among {settings["samples"]} drawn and
        {settings["children"]} evolved candidates and those of the alphas, whose seconds are in no
        figure here."""
    )
    return f"## What discretisation loses\n\n{told}\n\n{table(head, body)}"


def _distance(found: Mapping[str, Any]) -> str:
    own = found["distance_gain_spearman"]
    whole = UNKNOWN if own["value"] is None else f"{own['value']:+.2f}"
    inner = UNKNOWN if own["within_target"] is None else f"{own['within_target']:+.2f}"
    told = filled(
        f"""Over the {own["pairs"]} starts from single sources (nearest, farthest, random),
        Spearman's correlation of OTDD with what the supernet was ahead of cold, by epochs: {whole}
        {bracket(own["interval"], signed)} over all, and {inner}
        {bracket(own["within_target_interval"], signed)} with each target's own means taken off.
        Negative is what a ranking by distance hopes for. {_ordered(found["order"])}"""
    )
    return f"## Distance and gain\n\n{told}"


def _ordered(found: Mapping[str, Any]) -> str:
    told = [
        f"{name.replace('_', ' ')} {points(own['median'])} {bracket(own['interval'], points)}"
        for name, own in found.items()
        if own["median"] is not None
    ]
    return f"In points, medians of pairs: {', '.join(told)}." if told else ""


def _targets(found: Mapping[str, Any]) -> str:
    head = ["target", "domain", "nearest", "cold's model, test"]
    head += [f"{NAMES[side]}: {what}" for side in _SIDES for what in ("to 95 %", "model, points")]
    body = []
    for target, own in found["targets"].items():
        rows = own["rows"]
        cells = [target, own["domain"], *_nearest(rows)]
        for side in _SIDES:
            mine = [row for row in rows if row["policy"] == side]
            cells.append(times(median(r["ratio_95"] for r in mine)) if mine else UNKNOWN)
            cells.append(
                points(fmean(r["retrained_difference"] for r in mine)) if mine else UNKNOWN
            )
        body.append(cells)
    return f"## By target\n\nMedians and means over the seeds.\n\n{table(head, body)}"


def _nearest(rows: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    source = next((row["source"] for row in rows if row["policy"] == "nearest"), UNKNOWN)
    cold = [row["retrained_test"] for row in rows if row["policy"] == "cold"]
    return source, f"{100 * fmean(cold):.1f}" if cold else UNKNOWN


def _costs(found: Mapping[str, Any]) -> str:
    own, settings = found["pretraining"], found["settings"]
    single, shared = own["mean_single_seconds"], own["mean_shared_seconds"]
    told = filled(
        f"""Not in any figure above. {own["single_supernets"]} supernets of one task
        ({settings["source_epochs"]} epochs on at most {settings["source_images"]} images):
        {_seconds(single)} each. {own["shared_supernets"]} of several tasks
        ({settings["rounds"] * settings["steps"]} steps with {settings["paths"]} paths beside the
        mixture): {_seconds(shared)} each. In all {own["total_seconds"] / 60:.0f} minutes, paid
        once. One source serves all seeds of its targets: seeds differ in images, splits and draws,
        not in the source's training."""
    )
    return f"## What the sources cost\n\n{told}"


def _limits(found: Mapping[str, Any]) -> str:
    told = filled(
        """Networks, tasks and trainings are of this scale; nothing here says what happens at
        another. The harness sets no learning rate by looking at these tasks, but
        the product's defaults were found on some of them. Validation images move the alphas of
        every arm alike; test images decide nothing. The targets of one suite are no sample of what
        users have."""
    )
    return f"## What this does not show\n\n{told}"


def _present(found: Mapping[str, Any], names: Sequence[str] | Mapping[str, str]) -> list[str]:
    return [name for name in names if name in found["overall"]]


def _negated(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    return None if bounds is None else (-bounds[1], -bounds[0])


def _seconds(value: float | None) -> str:
    return "no seconds" if value is None else f"{value:.0f} seconds"
