"""DARTS written down from the paper, one module per edge and operation: the oracle.

Slow on purpose: nothing is shared, folded or reordered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.space import Space
from core.nas.supernet import Supernet, outgoing_rows


def norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, affine=False)


class Zero(nn.Module):
    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride, :: self.stride] * 0.0


class Reduce(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(inputs, outputs // 2, 1, stride=2, bias=False)
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], dim=1))


def convolution(channels: int, kernel: int, stride: int, dilation: int) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.ReLU(),
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        norm(channels),
    ]


def operation(
    name: str, channels: int, stride: int, *, normalised_pools: bool = True
) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Reduce(channels, channels)
    if name in ("max_pool_3x3", "avg_pool_3x3"):
        pool = (
            nn.MaxPool2d(3, stride, 1)
            if name == "max_pool_3x3"
            else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        return nn.Sequential(pool, norm(channels)) if normalised_pools else pool
    kernel = int(name[-1])
    if name.startswith("conv"):
        inner = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False)
        return nn.Sequential(nn.ReLU(), inner, norm(channels))
    if name.startswith("sep"):
        first = convolution(channels, kernel, stride, 1)
        return nn.Sequential(*first, *convolution(channels, kernel, 1, 1))
    return nn.Sequential(*convolution(channels, kernel, stride, 2))


class Mixed(nn.Module):
    """All operations of one edge; with partial channels, of its first channels only."""

    def __init__(self, space: Space, channels: int, stride: int) -> None:
        super().__init__()
        self.partial, self.width, self.stride = space.partial, channels // space.partial, stride
        pools = space.cell.normalised_pools
        self.operations = nn.ModuleList(
            operation(name, self.width, stride, normalised_pools=pools)
            for name in space.operations
        )

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        mixed = sum(
            w * op(x[:, : self.width]) for w, op in zip(weights, self.operations, strict=True)
        )
        if self.partial == 1:
            return mixed
        rest = x[:, self.width :]
        rest = F.max_pool2d(rest, 2, ceil_mode=True) if self.stride == 2 else rest
        return nn.ChannelShuffle(self.partial)(torch.cat([mixed, rest], dim=1))


class PlainCell(nn.Module):
    def __init__(
        self, space: Space, older: int, newer: int, channels: int, *, reduction: bool, after: bool
    ) -> None:
        super().__init__()
        self.space, self.reduction = space, reduction
        self.first = self.second = None
        if space.cell.inputs == 2:
            self.first = (
                Reduce(older, channels)
                if after
                else nn.Sequential(
                    nn.ReLU(), nn.Conv2d(older, channels, 1, bias=False), norm(channels)
                )
            )
            self.second = nn.Sequential(
                nn.ReLU(), nn.Conv2d(newer, channels, 1, bias=False), norm(channels)
            )
        inputs = space.cell.inputs
        self.edges = nn.ModuleList(
            Mixed(space, channels, 2 if reduction and source < inputs else 1)
            for node in range(space.nodes)
            for source in range(node + inputs)
        )

    def forward(
        self, older: Tensor, newer: Tensor, weights: Tensor, betas: Tensor | None
    ) -> Tensor:
        states = [newer] if self.first is None else [self.first(older), self.second(newer)]
        inputs, offset = len(states), 0
        for _ in range(self.space.nodes):
            edges = range(offset, offset + len(states))
            shares = [1.0] * len(states)
            if betas is not None:
                shares = betas[offset : offset + len(states)].softmax(dim=0)
            node = sum(
                share * self.edges[edge](state, weights[edge])
                for share, edge, state in zip(shares, edges, states, strict=True)
            )
            offset += len(states)
            states.append(node)
        nodes = states[inputs:]
        return torch.cat(nodes, dim=1) if self.space.cell.concatenated else nodes[-1]


class PlainResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
        self.first_norm = norm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.second_norm = norm(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second_norm(self.second(F.relu(self.first_norm(self.first(F.relu(x))))))
        return y + self.shortcut(nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)(x))


class PlainDarts(nn.Module):
    def __init__(self, space: Space, classes: int) -> None:
        super().__init__()
        width = space.stem_multiplier * space.channels
        width = width if space.cell.inputs == 2 else space.channels
        self.space = space
        stride = space.stem_stride
        self.stem = nn.Sequential(
            nn.Conv2d(space.input_channels, width, 3, min(2, stride), padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.stem_reductions = nn.ModuleList()
        while stride > 2:
            stride //= 2
            self.stem_reductions.append(
                nn.Sequential(
                    nn.ReLU(), nn.Conv2d(width, width, 3, 2, padding=1, bias=False), norm(width)
                )
            )
        self.cells = nn.ModuleList()
        older = newer = width
        channels, after = space.channels, False
        for layer in range(space.layers):
            reduction = layer in (space.layers // 3, 2 * space.layers // 3)
            channels = channels * 2 if reduction else channels
            if reduction and not space.cell.reduction:
                self.cells.append(PlainResidual(newer, channels))
            else:
                self.cells.append(
                    PlainCell(space, older, newer, channels, reduction=reduction, after=after)
                )
            outputs = channels * (space.nodes if space.cell.concatenated else 1)
            older, newer, after = newer, outputs, reduction
        self.last_norm = None if space.cell.concatenated else norm(newer)
        self.classifier = nn.Linear(newer, classes)
        shape = space.edges, len(space.operations)
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(shape))
        if space.cell.reduction:
            self.alphas_reduction = nn.Parameter(1e-3 * torch.randn(shape))
        if space.partial > 1:
            self.betas_normal = nn.Parameter(1e-3 * torch.randn(space.edges))
            self.betas_reduction = nn.Parameter(1e-3 * torch.randn(space.edges))

    def forward(self, images: Tensor) -> Tensor:
        older = self.stem(images)
        for reduce in self.stem_reductions:
            older = reduce(older)
        newer = older
        for cell in self.cells:
            if isinstance(cell, PlainResidual):
                older, newer = newer, cell(newer)
                continue
            kind = "reduction" if cell.reduction else "normal"
            weights = F.softmax(getattr(self, f"alphas_{kind}"), dim=-1)
            betas = getattr(self, f"betas_{kind}", None)
            older, newer = newer, cell(older, newer, weights, betas)
        if self.last_norm is not None:
            newer = F.relu(self.last_norm(newer))
        return self.classifier(F.adaptive_avg_pool2d(newer, 1).flatten(1))


Assignment = dict[str, tuple[Tensor, ...]]


def packed_state(plain: PlainDarts) -> dict[str, Tensor]:
    """The plain network's weights and statistics, under the packed network's names."""
    state: dict[str, Tensor] = {
        "stem": plain.stem[0].weight,
        "classifier.weight": plain.classifier.weight,
        "classifier.bias": plain.classifier.bias,
        **{f"stem_norm.{name}": value for name, value in plain.stem[1].state_dict().items()},
    }
    state |= {name: p for name, p in plain.named_parameters() if name[:6] in ("alphas", "betas_")}
    for index, reduce in enumerate(plain.stem_reductions):
        state[f"stem_reductions.{index}.weight"] = reduce[1].weight
        state |= _norms(f"stem_reductions.{index}.norm", [reduce[2]])
    if plain.last_norm is not None:
        state |= _norms("last_norm", [plain.last_norm])
    for index, cell in enumerate(plain.cells):
        if isinstance(cell, PlainResidual):
            state |= _residual(f"cells.{index}", cell)
            continue
        if cell.first is not None:
            for position, module in enumerate((cell.first, cell.second)):
                state |= _preprocess(f"cells.{index}.preprocess.{position}", module)
        for source, rows in enumerate(outgoing_rows(plain.space)):
            edges = [cell.edges[row].operations for row in rows]
            state |= _edges(f"cells.{index}.states.{source}", edges, plain.space)
    return {name: value.detach().clone() for name, value in state.items()}


def _residual(prefix: str, cell: PlainResidual) -> dict[str, Tensor]:
    weights = {n: getattr(cell, n).weight for n in ("first", "second", "shortcut")}
    return {
        **{f"{prefix}.{name}": weight for name, weight in weights.items()},
        **_norms(f"{prefix}.first_norm", [cell.first_norm]),
        **_norms(f"{prefix}.second_norm", [cell.second_norm]),
    }


def _norms(prefix: str, norms: list[nn.BatchNorm2d]) -> dict[str, Tensor]:
    return {
        f"{prefix}.running_mean": torch.cat([n.running_mean for n in norms]),
        f"{prefix}.running_var": torch.cat([n.running_var for n in norms]),
    }


def _preprocess(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    if isinstance(module, Reduce):
        return _reduce(prefix, [module])
    return {
        f"{prefix}.weight": module[1].weight.flatten(1),
        **_norms(f"{prefix}.norm", [module[2]]),
    }


def _reduce(prefix: str, modules: list[Reduce]) -> dict[str, Tensor]:
    halves = [
        torch.stack([getattr(m, half).weight.flatten(1) for m in modules])
        for half in ("even", "odd")
    ]
    norms = _norms(f"{prefix}.norm", [m.norm for m in modules])
    return {f"{prefix}.weight": torch.stack(halves), **norms}


def _edges(prefix: str, edges: list[nn.ModuleList], space: Space) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    column = {name: index for index, name in enumerate(space.operations)}
    pools = [column[name] for name in space.operations if "pool" in name]
    if pools and space.cell.normalised_pools:
        state |= _norms(f"{prefix}.pool_norm", [edges[0][pool][1] for pool in pools])
    if "skip_connect" in column and isinstance(edges[0][column["skip_connect"]], Reduce):
        state |= _reduce(f"{prefix}.reduce", [edge[column["skip_connect"]] for edge in edges])
    for name, index in column.items():
        here = f"{prefix}.convolutions.{name}"
        if name.startswith("conv"):
            state[f"{here}.weight"] = torch.stack([e[index][1].weight for e in edges])[None]
            state |= _norms(f"{here}.norm", [e[index][2] for e in edges])
        elif "conv" in name:
            state |= _separable(here, [e[index] for e in edges])
    return state


def _separable(here: str, edges: list[nn.Module]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    stages = range(len(edges[0]) // 4)
    for kind, offset in (("depthwise", 1), ("pointwise", 2)):
        state[f"{here}.{kind}"] = torch.stack(
            [torch.stack([e[4 * s + offset].weight for e in edges]) for s in stages]
        )
    state[f"{here}.depthwise"] = state[f"{here}.depthwise"].squeeze(3)
    state[f"{here}.pointwise"] = state[f"{here}.pointwise"].flatten(-3)
    for s in stages:
        state |= _norms(f"{here}.norms.{s}", [e[4 * s + 3] for e in edges])
    return state


def packed_gradients(plain: PlainDarts) -> dict[str, Tensor]:
    """The plain network's gradients under the packed network's parameter names."""
    values = [p.detach().clone() for p in plain.parameters()]
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            )
        gradients = packed_state(plain)
        for parameter, value in zip(plain.parameters(), values, strict=True):
            parameter.copy_(value)
    return gradients


def pack(plain: PlainDarts, *, convolutions: str = "auto") -> Supernet:
    """The packed supernet with the plain network's weights, statistics and type."""
    packed = Supernet(
        plain.space,
        plain.classifier.out_features,
        torch.Generator().manual_seed(0),
        convolutions=convolutions,
    )
    packed.to(plain.alphas_normal.dtype).load_state_dict(packed_state(plain))
    return packed.train(plain.training)
