"""A cluster's objects behind its back: which there are, and other bytes in their place."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from core.config import LocalStorage, S3Storage
from core.storage.keys import PARTIAL
from tests.fixtures import s3

Storage = LocalStorage | S3Storage
VARIABLE = "CHAOS_STORAGE"


class _Told(BaseModel):
    storage: Storage = Field(discriminator="kind")


def environment(storage: Storage) -> dict[str, str]:
    """What our processes are told of it, and what their children are, who get no settings."""
    told = {name: value for name, value in _clear(storage).items() if value is not None}
    ours = {f"HEADSTART_STORAGE__{name.upper()}": value for name, value in told.items()}
    return {**ours, VARIABLE: json.dumps({"storage": told})}


def told() -> Storage:
    """The storage that this process's environment names."""
    return _Told.model_validate_json(os.environ[VARIABLE]).storage


def keys(storage: Storage) -> tuple[str, ...]:
    """Of every object; what is still being written has none."""
    if isinstance(storage, LocalStorage):
        root = _root(storage)
        files = (path for path in sorted(root.rglob("*")) if path.is_file())
        names = (path for path in files if not path.name.startswith(PARTIAL))
        return tuple(path.relative_to(root).as_posix() for path in names)
    with s3.client(storage) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=storage.bucket)
        return tuple(each["Key"] for page in pages for each in page.get("Contents", ()))


def content(storage: Storage, key: str) -> bytes:
    """The bytes of an object as they are."""
    if isinstance(storage, LocalStorage):
        return (_root(storage) / key).read_bytes()
    with s3.client(storage) as client:
        found: bytes = client.get_object(Bucket=storage.bucket, Key=key)["Body"].read()
        return found


def replace(storage: Storage, key: str, content: bytes | None) -> None:
    """Put other bytes in an object's place, under the metadata it has; none take it away."""
    if isinstance(storage, LocalStorage):
        path = _root(storage) / key
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        return
    where = {"Bucket": storage.bucket, "Key": key}
    with s3.client(storage) as client:
        if content is None:
            client.delete_object(**where)
        else:
            metadata = client.head_object(**where)["Metadata"]
            client.put_object(**where, Body=content, Metadata=metadata)


def fresh(server: S3Storage | None, folder: Path) -> Storage:
    """An empty one: a bucket of the server, or the folder when there is none."""
    return LocalStorage(root=folder) if server is None else s3.fresh_bucket(server)


def _root(storage: LocalStorage) -> Path:
    assert storage.root is not None
    return storage.root


def _clear(storage: Storage) -> Mapping[str, Any]:
    """As text, secrets too."""
    shown = storage.model_dump(mode="json")
    if isinstance(storage, S3Storage):
        for name in ("access_key", "secret_key"):
            secret = getattr(storage, name)
            shown[name] = secret and secret.get_secret_value()
    return shown
