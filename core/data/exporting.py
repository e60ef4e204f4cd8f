"""A stored dataset as an archive that people and other tools read."""

import zipfile
from pathlib import Path

import pyarrow.parquet as pq

from core.data import signatures

_ROWS = 100
_FIRST_BYTES = 12


def image_folder(originals: Path, target: Path) -> None:
    """The images as uploaded, in `SPLIT/CLASS/NUMBER.suffix`; taken in again they are the same
    dataset.

    Args:
        originals: The stored Parquet file (`core.data.originals`).
        target: The zip to write; nothing is compressed once more.
    """
    number = 0
    with pq.ParquetFile(originals) as file, zipfile.ZipFile(target, "w") as archive:
        for batch in file.iter_batches(batch_size=_ROWS, columns=["image", "label_name", "split"]):
            for row in batch.to_pylist():
                data = row["image"]["bytes"]
                kind = signatures.format_of(data[:_FIRST_BYTES])
                suffix = signatures.SUFFIX_OF.get(kind or "", "img")
                archive.writestr(f"{row['split']}/{row['label_name']}/{number:06}.{suffix}", data)
                number += 1
