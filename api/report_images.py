"""Which stored images a dataset's report names: found once, and kept on disk."""

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from threading import BoundedSemaphore

from api.turns import turn
from core.bootstrap import Container
from core.data import places
from core.data.places import Found
from core.domain import keys
from core.domain.datasets import Dataset, DatasetReport
from core.errors import CorruptObject, NotFound
from core.execution import caches

VERSION = 1
AT_ONCE = 1
PATIENCE_SECONDS = 10.0

_turns = BoundedSemaphore(AT_ONCE)


def named(container: Container, dataset: Dataset, report: DatasetReport) -> Mapping[str, Found]:
    """The images that are here of those the report names, by these names; none where the images
    are not here. Raises CorruptObject, and Unavailable (`busy`)."""
    names = {each for problem in report.problems for each in (problem.place, *problem.also)}
    if dataset.statistics_only or not names:
        return {}
    kept = _kept(container, dataset)
    if not kept.exists():
        with turn(_turns, "Other reports are being read", patience=PATIENCE_SECONDS):
            if not kept.exists():
                try:
                    _keep(kept, _found(container, dataset, names))
                except NotFound:  # not kept: what a store has lost may be restored
                    return {}
    return {name: Found(**told) for name, told in json.loads(kept.read_bytes()).items()}


def _kept(container: Container, dataset: Dataset) -> Path:
    """Of this very report: a dataset that was deleted and came back may name other files."""
    made = f"{dataset.id.hex}-{dataset.created_at:%Y%m%d%H%M%S%f}"
    folder = caches.examples(container.settings.home) / f"{dataset.sha256}-{made}"
    return folder / f"places-{VERSION}.json"


def _found(container: Container, dataset: Dataset, names: set[str]) -> Mapping[str, Found]:
    """Raises NotFound, CorruptObject."""
    import pyarrow as pa  # for those who ask

    try:
        with container.store.open(keys.originals(dataset.project_id, dataset.sha256)) as originals:
            return places.find(originals, names)
    except (pa.ArrowException, OSError, KeyError) as error:
        words = f"the originals of {dataset.sha256} cannot be read"
        raise CorruptObject(words) from error


def _keep(path: Path, found: Mapping[str, Found]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    told = {name: asdict(each) for name, each in found.items()}
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(told, file)
    os.replace(file.name, path)  # whole or not at all
