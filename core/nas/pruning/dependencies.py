"""Which channels of a network can only go together, and their removal.

The only file that knows the library behind it: torch-pruning's dependency graph (Fang et al. 2023,
arXiv 2301.12900).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
import torch_pruning
from torch import Tensor, nn

from core.nas.pruning.backbone import evaluating

_PRUNABLE = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)


@dataclass(frozen=True, slots=True)
class Place:
    """Where channels of a group run.

    Args:
        name: Of the module.
        positions: ``[P]`` int64, in the module's input or output.
        channels: ``[P]`` int64, the group's channel at each position.
        out: Whether the module produces these channels, or consumes them.
    """

    name: str
    positions: Tensor
    channels: Tensor
    out: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Channels that can only be removed together wherever they run.

    Args:
        name: Of the layer that the group is found by.
        width: Its channels.
        places: Where they run.
    """

    name: str
    width: int
    places: tuple[Place, ...]


def coupled(model: nn.Module, images: Tensor, *, kept: nn.Module) -> tuple[Group, ...]:
    """The groups of a network, in the order of its modules.

    Left out are groups that something depends on whose channels are not independent: grouped
    convolutions that are not depthwise, normalisation across channels, parameters of no layer.

    Args:
        model: Traced in evaluation mode; its mode is restored.
        images: ``[1, C, H, W]`` to trace it with.
        kept: The layer whose outputs stay: the classifier.
    """
    graph = _graph(model, images)
    names = {module: name for name, module in model.named_modules()}
    found = [
        _group(graph, each, names)
        for each in graph.get_all_groups(ignored_layers=[kept])
        if all(_separable(item.dep.target.module) for item in each.items)
    ]
    order = {name: at for at, name in enumerate(names.values())}
    return tuple(sorted(found, key=lambda group: order[group.name]))


def remove(model: nn.Module, images: Tensor, channels: Mapping[str, Iterable[int]]) -> None:
    """Remove channels of groups, by the groups' names, from the modules: in place.

    Args:
        model: As given to `coupled`, or a copy.
        images: As given to `coupled`.
        channels: At least one channel of each group must be left.
    """
    graph = _graph(model, images)
    for name, gone in channels.items():
        root = model.get_submodule(name)
        pruning = graph.get_pruner_of_module(root).prune_out_channels
        indices = sorted(gone)
        if indices:
            graph.get_pruning_group(root, pruning, indices).prune()


def _graph(model: nn.Module, images: Tensor) -> torch_pruning.DependencyGraph:
    with torch.enable_grad(), evaluating(model):
        return torch_pruning.DependencyGraph().build_dependency(model, images, verbose=False)


def _separable(module: object) -> bool:
    if isinstance(module, nn.Conv2d):
        return module.groups in (1, module.out_channels)
    # Operations that are no modules of the network belong to the library; they hold no weights.
    is_operation = type(module).__module__.startswith("torch_pruning")
    return isinstance(module, _PRUNABLE) or is_operation


def _group(
    graph: torch_pruning.DependencyGraph,
    group: torch_pruning.Group,
    names: Mapping[nn.Module, str],
) -> Group:
    places = tuple(
        Place(
            names[item.dep.target.module],
            torch.tensor(item.idxs),
            torch.tensor(item.root_idxs),
            out=graph.is_out_channel_pruning_fn(item.dep.handler),
        )
        for item in group.items
        if isinstance(item.dep.target.module, _PRUNABLE)
    )
    return Group(places[0].name, len(group[0].idxs), places)
