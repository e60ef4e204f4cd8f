"""DARTS written down from the paper, one module per edge and operation: the oracle.

Slow on purpose: nothing is shared, folded or reordered.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.space import CELL_SPACES, Space
from core.nas.supernet import Supernet, outgoing_rows

OPERATIONS = CELL_SPACES["darts"].operations


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


def operation(name: str, channels: int, stride: int) -> nn.Module:
    if name == "none":
        return Zero(stride)
    if name == "skip_connect":
        return nn.Identity() if stride == 1 else Reduce(channels, channels)
    if name == "max_pool_3x3":
        return nn.Sequential(nn.MaxPool2d(3, stride, 1), norm(channels))
    if name == "avg_pool_3x3":
        return nn.Sequential(nn.AvgPool2d(3, stride, 1, count_include_pad=False), norm(channels))
    kernel = int(name[-1])
    if name.startswith("sep"):
        first = convolution(channels, kernel, stride, 1)
        return nn.Sequential(*first, *convolution(channels, kernel, 1, 1))
    return nn.Sequential(*convolution(channels, kernel, stride, 2))


class Mixed(nn.Module):
    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.operations = nn.ModuleList(operation(name, channels, stride) for name in OPERATIONS)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        return sum(w * op(x) for w, op in zip(weights, self.operations, strict=True))


class PlainCell(nn.Module):
    def __init__(
        self, nodes: int, older: int, newer: int, channels: int, *, reduction: bool, after: bool
    ) -> None:
        super().__init__()
        self.nodes, self.reduction = nodes, reduction
        self.first: nn.Module = (
            Reduce(older, channels)
            if after
            else nn.Sequential(
                nn.ReLU(), nn.Conv2d(older, channels, 1, bias=False), norm(channels)
            )
        )
        self.second = nn.Sequential(
            nn.ReLU(), nn.Conv2d(newer, channels, 1, bias=False), norm(channels)
        )
        self.edges = nn.ModuleList(
            Mixed(channels, 2 if reduction and source < 2 else 1)
            for node in range(nodes)
            for source in range(node + 2)
        )

    def forward(self, older: Tensor, newer: Tensor, weights: Tensor) -> Tensor:
        states = [self.first(older), self.second(newer)]
        offset = 0
        for _ in range(self.nodes):
            node = sum(
                self.edges[offset + source](state, weights[offset + source])
                for source, state in enumerate(states)
            )
            offset += len(states)
            states.append(node)
        return torch.cat(states[-self.nodes :], dim=1)


class PlainDarts(nn.Module):
    def __init__(self, space: Space, classes: int) -> None:
        super().__init__()
        width = space.stem_multiplier * space.channels
        self.space = space
        self.stem = nn.Sequential(
            nn.Conv2d(space.input_channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.cells = nn.ModuleList()
        older = newer = width
        channels, after = space.channels, False
        for layer in range(space.layers):
            reduction = layer in (space.layers // 3, 2 * space.layers // 3)
            channels = channels * 2 if reduction else channels
            self.cells.append(
                PlainCell(space.nodes, older, newer, channels, reduction=reduction, after=after)
            )
            older, newer, after = newer, space.nodes * channels, reduction
        self.classifier = nn.Linear(newer, classes)
        self.alphas_normal = nn.Parameter(1e-3 * torch.randn(space.edges, 8))
        self.alphas_reduction = nn.Parameter(1e-3 * torch.randn(space.edges, 8))

    def forward(self, images: Tensor) -> Tensor:
        older = newer = self.stem(images)
        for cell in self.cells:
            alphas = self.alphas_reduction if cell.reduction else self.alphas_normal
            older, newer = newer, cell(older, newer, F.softmax(alphas, dim=-1))
        return self.classifier(F.adaptive_avg_pool2d(newer, 1).flatten(1))


Assignment = dict[str, tuple[Tensor, ...]]


def packed_state(plain: PlainDarts) -> dict[str, Tensor]:
    """The plain network's weights and statistics, under the packed network's names."""
    state: dict[str, Tensor] = {
        "stem": plain.stem[0].weight,
        "alphas_normal": plain.alphas_normal,
        "alphas_reduction": plain.alphas_reduction,
        "classifier.weight": plain.classifier.weight,
        "classifier.bias": plain.classifier.bias,
        **{f"stem_norm.{name}": value for name, value in plain.stem[1].state_dict().items()},
    }
    for index, cell in enumerate(plain.cells):
        for position, module in enumerate((cell.first, cell.second)):
            state |= _preprocess(f"cells.{index}.preprocess.{position}", module)
        for source, rows in enumerate(outgoing_rows(plain.space)):
            edges = [cell.edges[row].operations for row in rows]
            state |= _edges(f"cells.{index}.states.{source}", edges)
    return {name: value.detach().clone() for name, value in state.items()}


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


def _edges(prefix: str, edges: list[nn.ModuleList]) -> dict[str, Tensor]:
    state = _norms(f"{prefix}.pool_norm", [edges[0][1][1], edges[0][2][1]])
    if isinstance(edges[0][3], Reduce):
        state |= _reduce(f"{prefix}.reduce", [edge[3] for edge in edges])
    for index, name in enumerate(OPERATIONS[4:], start=4):
        here = f"{prefix}.convolutions.{name}"
        stages = range(len(edges[0][index]) // 4)
        for kind, offset in (("depthwise", 1), ("pointwise", 2)):
            state[f"{here}.{kind}"] = torch.stack(
                [torch.stack([e[index][4 * s + offset].weight for e in edges]) for s in stages]
            )
        state[f"{here}.depthwise"] = state[f"{here}.depthwise"].squeeze(3)
        state[f"{here}.pointwise"] = state[f"{here}.pointwise"].flatten(-3)
        for s in stages:
            state |= _norms(f"{here}.norms.{s}", [e[index][4 * s + 3] for e in edges])
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
