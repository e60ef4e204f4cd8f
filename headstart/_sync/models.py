"""Models: what searches found, and their files."""

import builtins
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import operations
from headstart._sync import artifacts as stored
from headstart._sync import running
from headstart._sync.connection import Connection
from headstart.bars import OnBytes
from headstart.schema import ModelsListQuery, ModelView, PredictionView


class Models:
    """`client.models`."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    def get(self, model_id: str) -> ModelView:
        """A model: its cells, its accuracies, its files."""
        model: ModelView = self._at.json(operations.MODELS_GET, ids={"model_id": model_id})
        return model

    def list(self, **query: Unpack[ModelsListQuery]) -> Iterator[ModelView]:
        """Models, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.MODELS_LIST, query)

    def predict(
        self,
        model_id: str,
        image: str | PathLike[str],
        *,
        top: int | None = None,
        neighbours: int | None = None,
    ) -> PredictionView:
        """The likeliest classes of an image, by the model as it is at the server, and so many of
        the training images that it finds most alike."""
        found: PredictionView = self._at.json(
            operations.INFERENCE_PREDICT,
            ids={"model_id": model_id},
            query={"top": top, "neighbours": neighbours},
            headers={"Content-Type": "application/octet-stream"},
            content=running.run(Path(image).read_bytes),
        )
        return found

    def download(
        self,
        model_id: str,
        folder: str | PathLike[str],
        *,
        artifacts: Sequence[str] | None = None,
        progress: OnBytes = None,
    ) -> builtins.list[Path]:
        """Fetch a model's files, all or those of these names, into a folder; where they are.

        Each appears under its name only when it is whole and its checksum is right.
        """
        return stored.download(
            self._at,
            operations.MODELS_DOWNLOAD,
            {"model_id": model_id},
            (self.get(model_id))["artifacts"],
            folder,
            named=artifacts,
            progress=progress,
        )
