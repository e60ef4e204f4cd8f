"""microsoft/otdd as its users call it, from a checkout that is given and never copied."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import TensorDataset

from core.ot.embedded_dataset import EmbeddedDataset

SAMPLES = 1000
Precision = Literal["single", "double"]


class Reference:
    """Its distance with Gaussian labels: all defaults, debiased, p = 2, entropy 0.1."""

    def __init__(self, checkout: Path) -> None:
        """Import it; what it needs beside our own packages must be importable.

        Args:
            checkout: A clone of github.com/microsoft/otdd.

        Raises:
            ValueError: If the checkout is none, or a package that it needs is not installed.
        """
        if not (checkout / "otdd" / "pytorch" / "distance.py").is_file():
            raise ValueError(f"{checkout} is no checkout of microsoft/otdd")
        sys.path.insert(0, str(checkout))
        try:
            from otdd.pytorch import distance
        except ImportError as error:
            raise ValueError(
                f"microsoft/otdd cannot be imported ({error}): put a folder with the package "
                "on PYTHONPATH"
            ) from error
        logging.getLogger("otdd").setLevel(logging.ERROR)
        # PyTorch has dropped the name that it calls; its documented successor is this.
        torch.Tensor.symeig = lambda matrix, eigenvectors: torch.linalg.eigh(matrix)
        self._module: Any = distance

    def distance(
        self, first: EmbeddedDataset, second: EmbeddedDataset, *, precision: Precision = "single"
    ) -> float:
        """Half the squared distance, from the very samples that ours is measured on.

        Args:
            first: With samples.
            second: With samples.
            precision: In which numbers it computes.
        """
        sides = [_as_dataset(side, precision) for side in (first, second)]
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bars
            measured = self._module.DatasetDistance(
                *sides,
                inner_ot_method="gaussian_approx",
                debiased_loss=True,
                p=2,
                entreg=0.1,
                device="cpu",
                precision=precision,
                verbose=0,
            )
            return float(measured.distance(maxsamples=SAMPLES))


def _as_dataset(embedded: EmbeddedDataset, precision: Precision) -> TensorDataset:
    features = embedded.features
    return TensorDataset(features.double() if precision == "double" else features, embedded.labels)
