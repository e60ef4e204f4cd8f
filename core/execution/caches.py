"""What a machine keeps of datasets beside the store: it goes when they do.

Strips of examples hold images, places name files, blocks of sources hold features of samples. All
can be made again, so whatever is not of a registered dataset may go, whoever else is at work here.
"""

import hashlib
import shutil
from collections.abc import Collection, Set
from pathlib import Path

from core.db.sessions import Sessions
from core.pipelines import block_folder
from core.services import tombstones


def examples(home: Path) -> Path:
    """The folder of strips and places: folders for each dataset, named `SHA256-…`."""
    return home / "cache" / "examples"


def forget(home: Path, sha256: str) -> None:
    """Delete this machine's strips and places of a dataset. Its features go in the next round of
    `tidy`."""
    for folder in examples(home).glob(f"{sha256}-*"):
        shutil.rmtree(folder, ignore_errors=True)


def tidy(sessions: Sessions, home: Path) -> None:
    """Delete what this machine keeps of datasets that were deleted, and since when does not
    matter: a job that had begun before may have written it a moment ago."""
    with sessions.read() as session:
        if not tombstones.any_there(session):
            return
    _tidy_examples(sessions, home)
    for folder in _folders(home / "cache" / "blocks"):

        def alive(known: Set[str], embedder: str = folder.name) -> Collection[str]:
            with sessions.read() as session:
                named = tombstones.embedding_keys(session, embedder)
                return known & {hashlib.sha256(key.encode()).hexdigest() for key in named}

        block_folder.forget(folder, alive)


def _tidy_examples(sessions: Sessions, home: Path) -> None:
    kept = {folder.name.partition("-")[0] for folder in _folders(examples(home))}
    with sessions.read() as session:
        gone = tombstones.among(session, kept)
    for sha256 in gone:
        forget(home, sha256)


def _folders(parent: Path) -> list[Path]:
    return [path for path in parent.iterdir() if path.is_dir()] if parent.is_dir() else []
