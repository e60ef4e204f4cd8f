"""Which classes are taken for which, counted by hand."""

import torch

from core.nas import confusions
from core.nas.confusions import Confusion
from core.nas.evaluate import Evaluation

LABELS = torch.tensor([0, 0, 0, 0, 1, 1, 2])
FOUND = Evaluation(
    accuracy=2 / 7,
    loss=1.0,
    confusion=torch.zeros(3, 3, dtype=torch.int64),
    per_class=(0.25, 0.0, 1.0),
    answers=torch.tensor([1, 1, 0, 1, 0, 2, 2]),
    certainties=torch.tensor([0.6, 0.9, 1.0, 0.6, 0.5, 0.5, 1.0], dtype=torch.float64),
)


def test_the_heaviest_come_first_with_the_surest_mistakes() -> None:
    assert confusions.heaviest(LABELS, FOUND) == [
        Confusion(0, 1, 3, (1, 0, 3)),
        Confusion(1, 0, 1, (4,)),
        Confusion(1, 2, 1, (5,)),
    ]
    assert confusions.heaviest(LABELS, FOUND, pairs=1, images=2) == [Confusion(0, 1, 3, (1, 0))]
