"""Bundles in and out of a registry: checked, stored under their content, registered; and back."""

import shutil
from pathlib import Path

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.config import Settings, UploadLimits
from core.data import bundle as files
from core.db.sessions import Sessions
from core.domain import keys
from core.domain.identity import PUBLIC
from core.domain.supernets import Supernet
from core.errors import AppError, DeletedMeanwhile, TooLarge
from core.pipelines import objects
from core.ports import ObjectStore
from core.services import bundles, supernets, uploads
from core.zoo import shipped

log = structlog.stdlib.get_logger(__name__)


def enter(
    path: Path, *, sessions: Sessions, store: ObjectStore, limits: UploadLimits | None = None
) -> tuple[Supernet, bool]:
    """The supernet of this bundle, and whether it is new in the project; with `limits`, if the
    project has room for it. Raises InvalidInput, TooLarge (`quota_exceeded`), DeletedMeanwhile.

    The checks and the copy run outside any transaction; the row comes last, so that it never
    points at nothing.
    """
    sha256, size = objects.checksum(path), path.stat().st_size
    with sessions.read() as session:
        known = supernets.find(session, sha256)
        if known is None and limits is not None:
            uploads.check_room(session, size, limits)
    if known is not None:
        return known, False
    bundle = files.read(path)
    bundles.check(bundle)
    key = keys.supernet(sessions.project, sha256)
    store.put(key, path)
    try:
        with sessions.begin() as session:
            supernet, created = bundles.register(
                session, bundle, key=key, sha256=sha256, size_bytes=size
            )
            if created and limits is not None:  # others may have found the same room
                uploads.check_room(session, 0, limits)
                if not store.exists(key):  # one of those was refused, and took it away
                    raise DeletedMeanwhile("The same file was refused meanwhile: send it again.")
            return supernet, created
    except TooLarge:
        with sessions.begin() as session:
            uploads.hold_room(session)
            if supernets.find(session, sha256) is None:
                store.delete([key])
        raise


def enter_shipped(settings: Settings, sessions: Sessions, store: ObjectStore) -> None:
    """Register every bundle of the package that is not there yet for all projects, unless
    HEADSTART_ZOO says off.

    Once per start, or per upgrade of a cluster; harmless when repeated, and when several
    processes do it at once. A bundle that cannot be entered is logged and left out: the service
    runs without it.
    """
    if not settings.zoo:
        return
    everybodys = sessions.within(PUBLIC)
    for each in shipped.bundles():
        try:
            with each.file() as path:
                supernet, created = enter(path, sessions=everybodys, store=store)
        except (AppError, OSError, SQLAlchemyError) as error:
            reason = error.message if isinstance(error, AppError) else type(error).__name__
            log.warning("zoo_bundle_left_out", bundle=each.name, reason=reason)
            continue
        if created:
            log.info("zoo_bundle_entered", bundle=each.name, supernet_id=str(supernet.id))


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
