"""Bundles in and out of a registry: checked, stored under their content, registered; and back."""

import shutil
from pathlib import Path

from core.data import bundle as files
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.supernets import Supernet
from core.pipelines import objects
from core.ports import ObjectStore
from core.services import bundles, supernets


def enter(path: Path, *, sessions: Sessions, store: ObjectStore) -> tuple[Supernet, bool]:
    """The supernet of this bundle, and whether it is new here. Raises InvalidInput.

    The checks and the copy run outside any transaction; the row comes last, so that it never
    points at nothing.
    """
    sha256 = objects.checksum(path)
    with sessions.read() as session:
        known = supernets.find(session, sha256)
    if known is not None:
        return known, False
    bundle = files.read(path)
    bundles.check(bundle)
    store.put(keys.supernet(sha256), path)
    with sessions.begin() as session:
        return bundles.register(session, bundle, sha256=sha256)


def bundle_of(supernet: Supernet, path: Path, *, store: ObjectStore) -> None:
    """Write the supernet's bundle: the very file it came in, or one made of its weights.

    Raises NotFound or CorruptObject when its weights are not in the store as they were.
    """
    weights = path.with_name(f"{path.name}.weights")
    try:
        objects.fetch(store, supernet.key, weights, sha256=supernet.sha256)
        if files.is_bundle(weights):
            shutil.move(weights, path)
        else:
            files.write(path, weights, bundles.manifest_of(supernet))
    finally:
        weights.unlink(missing_ok=True)
