"""The units of work of the comparison of starts, and what each needs first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from core.domain.searches import HeadInit
from core.nas.supernet import Supernet
from core.pipelines import bilevel
from tests.benchmarks.transfer import arms, contest, controls, distances, pretraining
from tests.benchmarks.transfer.arms import Start
from tests.benchmarks.transfer.settings import Bench, checksum
from tests.benchmarks.transfer.tasks import deal, single_sources
from tests.benchmarks.units import Unit, finish

_CHOSEN = ("nearest", "second", "multi")  # what the product itself would start from


def of_distances(bench: Bench, targets: Sequence[str]) -> list[Unit]:
    """What decides which sources are needed."""
    embeddings = {
        f"embeddings/{task}": partial(distances.embed, task=task) for task in bench.domains
    }
    found = [Unit(name, "embeddings", measure) for name, measure in embeddings.items()]
    for target in targets:
        ranked = partial(distances.rank, target=target)
        found.append(Unit(distance_unit(target), "distances", ranked, tuple(embeddings)))
    return found


def distance_unit(target: str) -> str:
    """Where a target's ranking lies."""
    return f"distances/{target}"


def of_targets(bench: Bench, targets: Sequence[str], seeds: int) -> list[Unit]:
    """All other units: those of the sources that are needed, then those of the targets."""
    sources, measured = dict[str, Unit](), list[Unit]()
    for seed in range(seeds):
        for target in targets:
            units = supernets(bench, target, seed)
            for arm, unit in units.items():
                if seed < bench.scale.control_seeds or arm in _CHOSEN:
                    sources.setdefault(unit, _source(unit))
            measured += _of_target(bench, target, seed, units)
    return [*sources.values(), *measured]


def supernets(bench: Bench, target: str, seed: int) -> dict[str, str]:
    """The unit of the supernet that each warm arm begins from."""
    order = bench.result(distance_unit(target))["order"]
    single = single_sources(target, seed, order)
    fold = deal(bench.domains, bench.scale.folds)[target]
    found = {arm: f"sources/{task}" for arm, task in single.items()}
    return found | {"multi": f"shared/fold-{fold}"}


def arm_unit(target: str, seed: int, arm: str) -> str:
    """Where an arm's result lies."""
    return f"targets/{target}/{seed}/{arm}"


def resnet_arm(bench: Bench) -> str | None:
    """The arm of the ResNet18: other weights are another arm."""
    if bench.resnet18 is None:
        return None
    return f"resnet18-{checksum(bench.resnet18)[:12]}"


def _source(unit: str) -> Unit:
    kind, name = unit.split("/")
    if kind == "sources":
        return Unit(unit, kind, partial(pretraining.alone, task=name))
    return Unit(unit, kind, partial(pretraining.together, fold=int(name.removeprefix("fold-"))))


def _of_target(bench: Bench, target: str, seed: int, units: Mapping[str, str]) -> Iterator[Unit]:
    at = partial(arm_unit, target, seed)
    on: dict[str, Any] = {"name": target, "seed": seed}

    def searching(arm: str, start: Start) -> Unit:
        needs = () if start.unit is None else (start.unit,)
        return Unit(at(arm), arm, partial(arms.run, start=start, **on), needs)

    plain = Start(head=HeadInit.RANDOM, rates=bench.scale.cold_rates, patient=False)
    yield searching("cold", plain)
    yield searching(contest.COLD, Start())
    controlled = seed < bench.scale.control_seeds
    for arm in ("nearest", "multi", *(("farthest", "random") if controlled else ())):
        yield searching(arm, Start(units[arm]))
    for arm in ("nearest", "multi"):
        yield searching(f"{arm}_straight", Start(units[arm], searches=False))
    running = {arm: units[arm] for arm in ("multi", "nearest", "second") if arm in units}
    yield Unit(
        at("race"),
        "race",
        partial(contest.run, contestants={**running, contest.COLD: None}, **on),
        tuple(running.values()),
    )
    if "second" in units:
        chosen = partial(contest.runner_up, unit=units["second"], race_unit=at("race"), **on)
        yield Unit(at("second"), "second", chosen, (at("race"), units["second"]))
    if not controlled:
        return
    control = partial(controls.random_cell, cold_unit=at("cold"), **on)
    yield Unit(at("random_cell"), "random_cell", control, (at("cold"),))
    if (resnet := resnet_arm(bench)) is not None:
        yield Unit(at(resnet), "resnet18", partial(controls.fine_tuned, **on))


def work(bench: Bench, units: Sequence[Unit], jobs: int) -> list[str]:
    """Finish the units that are not finished; those that failed, and what needs them, by name."""
    return finish(bench, units, jobs, begin=partial(_begin, bench))


def _begin(bench: Bench) -> None:
    """Whatever is only done once in a process is done, on no arm's seconds."""
    supernet = Supernet(bench.space, 2, bilevel.generator(0)).to(bench.device)
    side, channels = bench.scale.side, bench.space.input_channels
    images = torch.zeros(bench.scale.batch_size, channels, side, side, device=bench.device)
    supernet(images).sum().backward()
