"""Channels and residual blocks of any network of convolutions as components of a subset."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import accumulate

import torch
from torch import Tensor, nn

from core.nas.pruning.backbone import Backbone, evaluating, redraw
from core.nas.pruning.blocks import identity_blocks
from core.nas.pruning.components import by_group
from core.nas.pruning.dependencies import Group, coupled, remove
from core.nas.pruning.fitting import filled
from core.nas.pruning.network_cost import Layer, Measure, NetworkCost, map_places

BLOCKS = "blocks"
_TOLERANCE = 1e-3  # of removed and masked answers: float32 through a deep network


class ChannelComponents:
    """Chunks of coupled channels, and blocks whose shortcut is the identity.

    A chunk's mask multiplies its channels wherever they leave a normalisation (or their layer,
    where there is none), so that a mask of 0 is the removal of the channels. One chunk of each
    group always stays.

    Args:
        model: Computes with the masks from now on.
        images: ``[1, C, H, W]``, of the size that is to be pruned for.
        chunks: Components of a group, as far as it has channels.
        blocks: Whether blocks are components, too.
        measure: What costs.

    Raises:
        ValueError: a mask of 0 is not the removal here, or there is nothing to remove.
    """

    def __init__(
        self,
        model: Backbone,
        images: Tensor,
        *,
        chunks: int = 16,
        blocks: bool = True,
        measure: Measure = "parameters",
    ) -> None:
        self.model, self.images = model, images
        self.groups = coupled(model, images, kept=model.classifier)
        self.blocks = identity_blocks(model, images) if blocks else ()
        sizes = {group.name: min(chunks, group.width) for group in self.groups}
        if not sizes:
            raise ValueError("model: it has no channels that can be removed")
        self.sizes: dict[str, int] = sizes | ({BLOCKS: len(self.blocks)} if self.blocks else {})
        self.count = sum(self.sizes.values())
        starts = [0, *accumulate(self.sizes.values())]
        self._starts = dict(zip(self.sizes, starts, strict=False))
        self._inputs, self._outputs = self._owners()
        self.layers = self._layers()
        self._cost = NetworkCost(self.layers, self.count, measure)
        self.whole = float(self._cost(torch.ones(self.count)))
        self._masks: Tensor | None = None
        self._handles = self._hooked()
        self._check()

    def put(self, masks: Tensor | None) -> None:
        """Let the model compute with these masks ``[K]``; whole with None."""
        if masks is not None:
            masks = torch.cat([masks, masks.new_ones(1)]).to(self.model.classifier.weight)
        self._masks = masks

    def cost(self, masks: Tensor) -> Tensor:
        """What is left of the whole network's parameters or multiply-adds, in 0..1."""
        return self._cost(masks) / self.whole

    def feasible(self, scores: Tensor, threshold: float = 0.0) -> Tensor:
        """``[K]`` bool: above the threshold, and of each group its best chunk."""
        kept = scores > threshold
        for name, part in by_group(scores, self.sizes).items():
            if name != BLOCKS:
                kept[self._starts[name] + int(part.argmax())] = True
        return kept

    def fit(self, scores: Tensor, target: float) -> Tensor:
        """``[K]`` bool: the best components that fit, see `core.nas.pruning.fitting.filled`."""
        return filled(self, scores, target)

    def redraw(self, generator: torch.Generator) -> None:
        """Give the model fresh weights."""
        redraw(self.model, generator)

    def pruned(self, mask: Tensor) -> Backbone:
        """A copy of the model without what the mask leaves out: smaller, and with its weights.

        Args:
            mask: ``[K]`` bool, feasible.

        Raises:
            ValueError: a group without a chunk.
        """
        parts = by_group(mask.bool().cpu(), self.sizes)
        bare = [group.name for group in self.groups if not parts[group.name].any()]
        if bare:
            raise ValueError(f"mask: nothing is left of {bare[0]}")
        for handle in self._handles:
            handle.remove()
        clone = copy.deepcopy(self.model)
        self._handles = self._hooked()
        gone = {group.name: (~parts[group.name][_chunk(group, parts)]) for group in self.groups}
        remove(clone, self.images, {n: g.nonzero().flatten().tolist() for n, g in gone.items()})
        for block, open_ in zip(self.blocks, parts.get(BLOCKS, ()), strict=True):
            if not open_:
                clone.set_submodule(block.name, block.remains())
        return clone

    def importance(self, values: Mapping[str, Tensor], scales: Mapping[str, Tensor]) -> Tensor:
        """Scores ``[K]`` from what modules say of their output channels: means per component.

        Args:
            values: ``[O]`` by the modules' names.
            scales: ``[O]`` by the names of normalisations, for the blocks.
        """
        total, count = torch.zeros(self.count + 1), torch.zeros(self.count + 1)
        for name, each in values.items():
            total.index_add_(0, self._outputs[name], each.detach().float().cpu())
            count.index_add_(0, self._outputs[name], torch.ones(len(each)))
        found = (total / count.clamp_min(1))[: self.count]
        for at, block in enumerate(self.blocks):
            mean = torch.stack([scale.mean() for scale in scales.values()]).mean()
            found[self._starts[BLOCKS] + at] = scales[block.norm].mean() / mean
        return found

    def _owners(self) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """By module the component of each input and output channel; K where there is none."""
        inputs, outputs = {}, {}
        for name, module in self.model.named_modules():
            if isinstance(module, nn.Conv2d):
                inputs[name] = torch.full((module.in_channels,), self.count)
                outputs[name] = torch.full((module.out_channels,), self.count)
            elif isinstance(module, nn.Linear):
                inputs[name] = torch.full((module.in_features,), self.count)
                outputs[name] = torch.full((module.out_features,), self.count)
            elif isinstance(module, nn.BatchNorm2d):
                inputs[name] = outputs[name] = torch.full((module.num_features,), self.count)
        for group in self.groups:
            owner = self._starts[group.name] + _chunk(group, self.sizes)
            for place in group.places:
                side = outputs if place.out else inputs
                side[place.name][place.positions] = owner[place.channels]
        return inputs, outputs

    def _layers(self) -> list[Layer]:
        places = map_places(self.model, self.images)
        return [
            Layer(
                self.model.get_submodule(name),
                self._inputs[name],
                self._outputs[name],
                self._gate(name),
                places.get(name, 1),
            )
            for name in self._outputs
        ]

    def _gate(self, name: str) -> int:
        inside = [at for at, b in enumerate(self.blocks) if name.startswith(f"{b.name}.")]
        return self._starts[BLOCKS] + inside[0] if inside else self.count

    def _hooked(self) -> list[torch.utils.hooks.RemovableHandle]:
        index: dict[str, tuple[Tensor, int]] = {}
        for group in self.groups:
            made = [place.name for place in group.places if place.out]
            modules = {name: self.model.get_submodule(name) for name in made}
            norms = [name for name in made if isinstance(modules[name], nn.BatchNorm2d)]
            index |= {name: (self._outputs[name], self.count) for name in norms or made}
        for at, block in enumerate(self.blocks):
            index[block.norm] = self._outputs[block.norm], self._starts[BLOCKS] + at
        return [self._watched(name, *each) for name, each in index.items()]

    def _watched(self, name: str, index: Tensor, gate: int) -> torch.utils.hooks.RemovableHandle:
        def masked(_module: nn.Module, _inputs: tuple[Tensor, ...], maps: Tensor) -> Tensor:
            if self._masks is None:
                return maps
            scale = self._masks[index.to(maps.device)] * self._masks[gate]
            return maps * (scale[:, None, None] if maps.ndim == 4 else scale)

        return self.model.get_submodule(name).register_forward_hook(masked)

    @torch.no_grad()
    def _check(self) -> None:
        """Raises ValueError where a network's masked answers are not its pruned ones."""
        generator = torch.Generator().manual_seed(0)
        mask = self.feasible(torch.randn(self.count, generator=generator))
        # Fresh shifts are 0, which is what removal leaves: any others tell the two apart.
        shifts = [m.bias for m in self.model.modules() if isinstance(m, nn.BatchNorm2d)]
        kept = [shift.clone() for shift in shifts]
        for shift in shifts:
            shift.copy_(torch.randn(len(shift), generator=generator))
        pruned = self.pruned(mask).eval()
        self.put(mask)
        with evaluating(self.model):
            masked = self.model(self.images)
        self.put(None)
        different = float((masked - pruned(self.images)).abs().max())
        for shift, value in zip(shifts, kept, strict=True):
            shift.copy_(value)
        if not different <= _TOLERANCE * float(1 + masked.abs().max()):
            raise ValueError("model: masking channels is not removing them in this network")


def _chunk(group: Group, sized: Mapping[str, int] | Mapping[str, Tensor]) -> Tensor:
    """``[W]``: the chunk of each channel of a group, as even as they go."""
    size = sized[group.name]
    chunks = size if isinstance(size, int) else len(size)
    return torch.arange(group.width) * chunks // group.width
