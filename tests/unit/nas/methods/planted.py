"""Tasks whose right architecture is known: labels are the answers of the supernet itself.

A supernet with one operation on every edge labels random images. A search that begins with that
supernet's weights must find those operations: any other mixture answers otherwise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from core.nas.genotype import Genotype
from core.nas.images import LabelledImages
from core.nas.normalisation import reestimate
from core.nas.space import Space
from core.nas.supernet import Supernet

Answer = dict[str, list[str]]


@torch.no_grad()
def plant(
    space: Space, answer: Answer, *, images: int = 256, side: int = 8, seed: int = 0
) -> tuple[Supernet, LabelledImages]:
    """A supernet and the images that it labelled by `answer`: per kind an operation per edge."""
    generator = torch.Generator().manual_seed(seed)
    supernet = Supernet(space, 4, generator)
    shape = (images, space.input_channels, side, side)
    noise = torch.randint(256, shape, generator=generator, dtype=torch.uint8)
    data = LabelledImages.measured(noise, torch.zeros(images, dtype=torch.int64), 4)

    def decided(kind: str, alphas: Tensor) -> Tensor:
        columns = [space.operations.index(operation) for operation in answer[kind]]
        return F.one_hot(torch.tensor(columns), alphas.shape[-1]).to(alphas)

    usual, supernet.relaxation = supernet.relaxation, decided
    reestimate(supernet, data.batches(images))
    supernet.eval()
    logits = torch.cat([supernet(batch) for batch, _ in data.batches(images)])
    # Classes as frequent as chance makes them, and answers that are sure of themselves.
    supernet.classifier.bias -= logits.mean(dim=0)
    logits -= logits.mean(dim=0)
    for parameter in supernet.classifier.parameters():
        parameter *= 3 / logits.std()
    supernet.relaxation = usual
    labels = logits.argmax(dim=1)
    return supernet.train(), LabelledImages(data.images, labels, 4, data.mean, data.std)


def operations(genotype: Genotype) -> Answer:
    """What a genotype has on every edge, where all are kept."""
    return {
        kind: [edge.operation for node in cell for edge in node]
        for kind, cell in (("normal", genotype.normal), ("reduction", genotype.reduction))
        if cell
    }
