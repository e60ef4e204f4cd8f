"""Values as people read them: durations, sizes, stages, operations."""

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from core.domain.datasets import MapPoint, Neighbour
from core.domain.supernets import LineageKind

KINDS = {
    "ingest": "Intake",
    "embed": "Embedding",
    "rank": "Ranking of sources",
    "pretrain": "Supernet pretraining",
    "search": "Architecture search",
    "prune": "Pruning of a known network",
    "group": "Group of jobs",
}
STAGES = {
    "queued": "waiting for a free worker",
    "starting": "starting",
    "children": "waiting for its jobs",
    "done": "done",
    "": "waiting",
    "gather": "gathering what was uploaded",
    "unpack": "looking into it",
    "decode": "checking every image",
    "write": "writing the dataset",
    "store": "storing the dataset",
    "refusal": "listing what is wrong",
    "fetch": "fetching the images",
    "embed": "embedding the dataset",
    "rank": "measuring distances to the sources",
    "start": "preparing the start",
    "race": "racing the candidate starts",
    "pretrain": "training the supernet",
    "search": "searching",
    "mask": "learning what can go",
    "train": "training what is left",
    "select": "choosing the cells",
    "derive": "deriving the network",
    "retrain": "retraining the derived network",
    "evaluate": "evaluating on the test split",
    "export": "exporting the model",
}
ARMS = {
    "pruned": "pruned",
    "full": "the whole",
    "magnitude": "by magnitude",
    "random": "by chance",
}
METHODS = {
    "darts": "DARTS, first order",
    "darts-second-order": "DARTS, second order",
    "pc-darts": "PC-DARTS (a quarter of the width)",
    "drnas": "DrNAS (Dirichlet)",
    "sdarts-rs": "SDARTS-RS (random smoothing)",
    "darts-minus": "DARTS- (auxiliary skip)",
    "op-dropping": "operation dropping",
}
SELECTIONS = {
    "best-of": "the best of scored candidates",
    "magnitude": "the strongest alphas",
    "perturbation": "what is missed most (DARTS-PT)",
    "jacobian": "a pre-screen: slopes that differ between images",
    "fisher-rao": "a pre-screen: the Fisher-Rao norm (SiGeo)",
}
OBJECTIVES = {"parameters": "parameters", "flops": "multiply-adds", "latency": "latency"}
TRADE_OFFS = {
    "nsga2": "NSGA-II from the chosen cells",
    "refined": "refined: a predictor proposes, weights follow (NAT)",
}
CELL_SPACES = {
    "darts": "DARTS",
    "s2": "S2: skip, separable 3x3",
    "s3": "S3: none, skip, separable 3x3",
    "nas-bench-201": "NAS-Bench-201",
}
HEADS = {
    "closed_form_every_epoch": "solved after every epoch",
    "closed_form": "solved at the start",
    "random": "random",
}
AUGMENTATIONS = {
    "shift": "shifts",
    "none": "none",
    "cutout": "shifts, cutout",
    "trivial": "TrivialAugment",
    "auto": "AutoAugment",
}
PRECISIONS = {"fp32": "32 bits", "bf16": "16 bits (bfloat16)"}
CHOICES = {
    "method": METHODS,
    "selection": SELECTIONS,
    "objectives": OBJECTIVES,
    "trade_offs": TRADE_OFFS,
    "cells": CELL_SPACES,
    "head": HEADS,
    "augment": AUGMENTATIONS,
    "precision": PRECISIONS,
}
UNKNOWN = "\N{EN DASH}"
SHORTEST = 0.1
SHOWN_NAMES = 3


def duration(seconds: Any) -> str:
    """`93.4` as `1 min 33 s`; a dash when it is not known."""
    if not _is_number(seconds) or seconds < 0:
        return UNKNOWN
    if 0 < seconds < SHORTEST:  # "0.0 s" reads as nothing at all
        return f"less than {SHORTEST} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"


def left(seconds: Any) -> str:
    """What remains: an estimate is said to be one."""
    said = duration(seconds)
    return said if said.startswith("less") or said == UNKNOWN else f"about {said}"


def percent(share: Any) -> str:
    """`0.9731` as `97.3 %`."""
    return f"{100 * share:.1f} %" if _is_number(share) else UNKNOWN


def share(part: Any) -> str:
    """`0.97` as `97 %`: three figures are enough for a share of a few datasets."""
    return f"{100 * part:.3g} %" if _is_number(part) else UNKNOWN


def count(number: Any) -> str:
    """`1234567` as `1,234,567`."""
    return f"{number:,.0f}" if _is_number(number) else UNKNOWN


def size(number: Any) -> str:
    """Bytes as people say them."""
    if not _is_number(number):
        return UNKNOWN
    for unit, power in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= power:
            return f"{number / power:.1f} {unit}"
    return f"{number:.0f} bytes"


def kind(value: Any) -> str:
    """What a kind of job does."""
    return KINDS.get(str(value), str(value))


def stage(value: Any, rates: Sequence[Any] = ()) -> str:
    """A stage; `search:1` is the search with the second of several learning rates."""
    name, _, number = str(value).partition(":")
    said = STAGES.get(name, name.replace("_", " "))
    if number.isdigit() and int(number) < len(rates) > 1:
        return f"{said} with learning rate {rates[int(number)]}"
    return said


def trained_on(lineage: Mapping[str, Any]) -> str:
    """The datasets a supernet learned from: all of few, the first and the number of many."""
    names = [str(each["name"]) for each in lineage["datasets"]]
    shown = ", ".join(names[:SHOWN_NAMES])
    if len(names) > SHOWN_NAMES:
        shown = f"{len(names)} datasets: {shown}, …"
    return f"{shown} (imported)" if lineage["kind"] == LineageKind.IMPORT else shown


def moment(value: datetime | None) -> str:
    """A time, to the second, in UTC."""
    return UNKNOWN if value is None else f"{value:%Y-%m-%d %H:%M:%S} UTC"


def taken(mask: Mapping[str, Any]) -> str:
    """Where a mask that was taken over was learned."""
    far = mask["distance"]
    distance = "" if far is None else f", distance {far:.4g}"
    return f"mask learned on {mask['dataset_name']}{distance}, weight {percent(mask['weight'])}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def called(dataset: Neighbour | MapPoint) -> str:
    """A dataset that a ranking names."""
    return f"{dataset.dataset_name} (deleted)" if dataset.deleted else dataset.dataset_name
