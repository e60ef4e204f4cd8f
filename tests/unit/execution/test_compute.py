"""Torch is settled in the child, in one place, and only where it is loaded."""

import subprocess
import sys

import pytest

SETTLED = """
import sys
import torch
import core.pipelines.search_architecture
from core.execution import compute
compute.settle(threads=1)
print(torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(),
      compute.device("auto") in {"cpu", "cuda"}, compute.device("cuda:3"), "ot" in sys.modules)
"""
UNTOUCHED = """
import sys
import core.embedded, core.execution.child, worker.factory
from core.execution import compute
compute.settle(threads=1)
print([name for name in ("torch", "ot", "boto3", "onnxruntime") if name in sys.modules])
"""


@pytest.mark.parametrize(
    ("program", "answer"),
    [
        pytest.param(SETTLED, "1 True True cuda:3 False", marks=pytest.mark.slow),
        (UNTOUCHED, "[]"),
    ],
)
def test_what_a_fresh_process_finds(program: str, answer: str) -> None:
    said = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == answer
