"""The largest eigenvalue of a Hessian, against the exact Hessian."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.nas.curvature import flat, largest_eigenvalue, unflat
from core.nas.space import Space
from tests.unit.nas.plain_darts import PlainDarts, pack


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("cells", "nodes"), [("s3", 1), ("nas-bench-201", 2)])
def test_of_a_supernets_architecture_parameters(cells: str, nodes: int) -> None:
    space = Space(channels=2, layers=3, nodes=nodes, input_channels=1, cells=cells)
    torch.manual_seed(0)
    # The Hessian is the textbook network's: the packed one can be differentiated once.
    plain = PlainDarts(space, 3).double()
    images, labels = torch.randn(12, 1, 8, 8, dtype=torch.float64), torch.arange(12) % 3
    with torch.no_grad():
        for name, alphas in plain.named_parameters():
            if name.startswith("alphas_"):
                alphas.mul_(300)
    supernet = pack(plain)
    kinds, parameters = list(supernet.alphas()), list(supernet.alphas().values())

    def loss_at(values: Tensor) -> Tensor:
        given = {
            f"alphas_{kind}": each
            for kind, each in zip(kinds, unflat(values, parameters), strict=True)
        }
        return F.cross_entropy(torch.func.functional_call(plain, given, images), labels)

    before = [p.detach().clone() for p in parameters]
    hessian = torch.autograd.functional.hessian(loss_at, flat(parameters))
    got = largest_eigenvalue(
        lambda: F.cross_entropy(supernet(images), labels),
        parameters,
        seeded(),
        iterations=40,
        tolerance=1e-6,
        step=1e-6,  # no kink within
    )
    assert got == pytest.approx(torch.linalg.eigvalsh(hessian)[-1].item(), rel=1e-3)
    assert all(map(torch.equal, before, parameters))


def quadratic(eigenvalues: list[float]) -> tuple[nn.Parameter, Tensor]:
    values = torch.tensor(eigenvalues, dtype=torch.float64)
    drawn = torch.randn(len(values), len(values), generator=seeded(), dtype=torch.float64)
    basis = torch.linalg.qr(drawn).Q
    return nn.Parameter(torch.zeros_like(values)), basis @ values.diag() @ basis.T


@pytest.mark.parametrize(
    "eigenvalues",
    [
        [3.0, 1.0, 0.5, 0.0],
        [-3.0, 2.9, 1.0, 0.0],  # where the power iteration does not settle
        [-3.0, -1.0, -0.5],
        [2.0],
        [0.0, 0.0],
    ],
)
def test_it_is_the_largest_with_its_sign(eigenvalues: list[float]) -> None:
    point, matrix = quadratic(eigenvalues)
    got = largest_eigenvalue(lambda: point @ matrix @ point / 2, [point], seeded(), tolerance=1e-9)
    assert got == pytest.approx(max(eigenvalues), abs=1e-8)


def test_parameters_that_do_not_matter_have_none() -> None:
    point, matrix = quadratic([2.0, 1.0])
    idle = nn.Parameter(torch.ones(3, dtype=torch.float64))
    got = largest_eigenvalue(
        lambda: point @ matrix @ point / 2, [idle, point], seeded(), tolerance=1e-9
    )
    assert got == pytest.approx(2.0)


def test_what_is_not_finite_is_not_a_number() -> None:
    point = nn.Parameter(torch.ones(2))
    assert math.isnan(largest_eigenvalue(lambda: (point * torch.inf).sum(), [point], seeded()))
    assert torch.equal(point.detach(), torch.ones(2))
