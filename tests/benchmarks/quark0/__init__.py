"""A step of a checkout of github.com/quark0/darts (Liu et al. 2019), as its authors wrote it.

Nothing of it is copied: its modules are imported from the checkout, with what they need of a
PyTorch of 2018 put in their place here:

- ``.cuda()`` does nothing where there is no GPU, and the device is the networks';
- the stem takes the images' channels, where the authors fixed three;
- overloads such as ``sub(number, tensor)`` still exist and only warn.

A step is what ``train_search.py`` does per batch, without its loader: ``architect.step``, which
at first order backpropagates to weights and alphas alike, then the weight step with clipping.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from tests.unit.nas.plain_darts import PlainDarts

RATE, MOMENTUM, DECAY, CLIP = 0.025, 0.9, 3e-4, 5.0
SETTINGS = Namespace(
    momentum=MOMENTUM, weight_decay=DECAY, arch_learning_rate=3e-4, arch_weight_decay=1e-3
)


class Reference:
    """The authors' network and optimisers.

    Args:
        checkout: Of the repository.
        plain: Gives shape, weights and alphas.
    """

    def __init__(self, checkout: Path, plain: PlainDarts) -> None:
        self.search, self.architects = _modules(checkout)
        space, device = plain.space, plain.alphas_normal.device
        classes = plain.classifier.out_features
        with self._environment(space.input_channels, device):
            self.network: Any = self.search.Network(
                space.channels, classes, space.layers, nn.CrossEntropyLoss()
            ).to(device, plain.alphas_normal.dtype)
            self._copy(plain)
            self.architect = self.architects.Architect(self.network, SETTINGS)
        self.descent = torch.optim.SGD(
            self.network.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY
        )

    def step(self, images: Tensor, labels: Tensor, *, unrolled: bool) -> None:
        """One architecture step and one weight step."""
        with self._environment(images.shape[1], images.device):
            self.architect.step(
                images, labels, images, labels, RATE, self.descent, unrolled=unrolled
            )
        self.descent.zero_grad()
        self.network._criterion(self.network(images), labels).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), CLIP)
        self.descent.step()

    def _copy(self, plain: PlainDarts) -> None:
        # Both list their parameters in the order of the paper's figure; the shapes must agree.
        alphas = {"alphas_normal", "alphas_reduction"}
        ours = [p for name, p in plain.named_parameters() if name not in alphas]
        with torch.no_grad():
            for theirs, given in zip(self.network.parameters(), ours, strict=True):
                if theirs.shape != given.shape:
                    raise ValueError(f"reference: {theirs.shape} where {given.shape} is expected")
                theirs.copy_(given)
        for name, given in (
            ("alphas_normal", plain.alphas_normal),
            ("alphas_reduce", plain.alphas_reduction),
        ):
            setattr(self.network, name, given.detach().clone().requires_grad_())
        self.network._arch_parameters = [self.network.alphas_normal, self.network.alphas_reduce]

    @contextmanager
    def _environment(self, channels: int, device: torch.device) -> Iterator[None]:
        def initialise(network: Any, *arguments: Any, **settings: Any) -> None:
            original(network, *arguments, **settings)
            if channels != 3:
                network.stem[0] = nn.Conv2d(
                    channels, network.stem[0].out_channels, 3, padding=1, bias=False
                )

        original = self.search.Network.__init__

        def moved(each: Any, *_: Any, **__: Any) -> Any:
            return each.to(device)

        with (
            mock.patch.object(self.search.Network, "__init__", initialise),
            mock.patch.object(torch.Tensor, "cuda", moved),
            mock.patch.object(nn.Module, "cuda", moved),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("ignore")
            yield


def _modules(checkout: Path) -> tuple[Any, Any]:
    folder = str(checkout / "cnn")
    if not (checkout / "cnn" / "architect.py").is_file():
        raise SystemExit(f"REFERENCE: {checkout} is no checkout of quark0/darts")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("model_search"), importlib.import_module("architect")
    finally:
        sys.path.remove(folder)
