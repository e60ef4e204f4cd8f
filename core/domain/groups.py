"""One request that becomes many jobs."""

from dataclasses import dataclass

from core.domain.datasets import Dataset, DatasetId
from core.domain.searches import PretrainSpec, SpaceSpec, Training


@dataclass(frozen=True, slots=True)
class PretrainEach:
    """Train a supernet on each of the datasets, all with the same settings."""

    dataset_ids: tuple[DatasetId, ...]
    embedder: str
    space: SpaceSpec
    training: Training
    learning_rate: float

    def of(self, dataset: Dataset) -> PretrainSpec:
        """What is asked for this one of them; the supernet is called as its dataset is."""
        return PretrainSpec(
            dataset_id=dataset.id,
            name=dataset.name,
            embedder=self.embedder,
            space=self.space,
            training=self.training,
            learning_rate=self.learning_rate,
        )
