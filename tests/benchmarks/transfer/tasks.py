"""Which tasks are targets, what each may start from, and what has not seen it."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence


def drawn(text: str) -> str:
    """A number that looks random, the same everywhere: what names are ordered by."""
    return hashlib.sha256(text.encode()).hexdigest()


def spread_over_domains(domains: Mapping[str, str], count: int | None) -> tuple[str, ...]:
    """So many tasks, one of each domain before a second of any; all where `count` is None.

    Args:
        domains: By task.
        count: How many, at most.
    """
    members = defaultdict(list)
    for task in sorted(domains, key=drawn):
        members[domains[task]].append(task)
    turns = [
        (turn, drawn(domain), task)
        for domain, tasks in members.items()
        for turn, task in enumerate(tasks)
    ]
    return tuple(task for _, _, task in sorted(turns)[:count])


def deal(tasks: Iterable[str], folds: int) -> dict[str, int]:
    """The fold of every task: by the order of their hashes, so that none is chosen by anyone."""
    return {task: place % folds for place, task in enumerate(sorted(tasks, key=drawn))}


def outside(tasks: Iterable[str], folds: int, fold: int) -> tuple[str, ...]:
    """The tasks of all other folds: what that fold's supernet is trained on."""
    return tuple(task for task, own in sorted(deal(tasks, folds).items()) if own != fold)


def single_sources(target: str, seed: int, order: Sequence[str]) -> dict[str, str]:
    """The source of each arm that starts from one task.

    Args:
        target: Not among the sources.
        seed: Draws the random one.
        order: All other tasks, nearest first.
    """
    if target in order:
        raise ValueError(f"{target}: would start from itself")
    chosen = min(order, key=lambda task: drawn(f"{target}/{seed}/{task}"))
    found = {"nearest": order[0], "farthest": order[-1], "random": chosen}
    return found | ({"second": order[1]} if len(order) > 1 else {})
