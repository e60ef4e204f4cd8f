"""Which store the settings ask for."""

from core.config import S3Storage, Settings
from core.ports import ObjectStore
from core.storage.local import LocalStore


def store_of(settings: Settings) -> ObjectStore:
    """The object store that `settings.storage` describes; nothing is contacted yet."""
    if isinstance(settings.storage, S3Storage):
        from core.storage.s3 import S3Store  # boto3 takes a while: embedded mode goes without

        return S3Store(settings.storage)
    return LocalStore(settings.storage.root or settings.home / "objects")


def make_bucket(settings: Settings) -> None:
    """Make the bucket that the settings name, unless it is there or they name none."""
    if isinstance(settings.storage, S3Storage):
        from core.storage.s3 import S3Store

        store = S3Store(settings.storage)
        try:
            store.create_bucket()
        finally:
            store.close()
