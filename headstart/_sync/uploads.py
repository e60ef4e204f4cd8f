"""Uploads: files that are at the server and no dataset yet."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Unpack

from headstart import bars, operations
from headstart._sync import files
from headstart._sync.connection import SLOW, Connection
from headstart.bars import OnBytes
from headstart.schema import (
    PresignBody,
    PresignedView,
    S3Body,
    UploadInPiecesView,
    UploadsListQuery,
)


class Uploads:
    """`client.uploads`."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    def send(self, file: str | PathLike[str], *, progress: OnBytes = None) -> str:
        """Send a file in pieces, through broken connections and restarts; the upload's id."""
        with bars.transferring(progress, "uploading") as told:
            return files.send(self._at, Path(file), told=told)

    def fetch(self, **body: Unpack[S3Body]) -> UploadInPiecesView:
        """Have the service fetch an object from a bucket of yours, with these credentials."""
        self._at.trust("your secret key")
        made: UploadInPiecesView = self._at.json(
            operations.UPLOADS_FROM_S3, json=body, timeout=SLOW
        )
        return made

    def presign(self, **body: Unpack[PresignBody]) -> PresignedView:
        """A form by which a file goes straight into the service's bucket; then `complete`."""
        form: PresignedView = self._at.json(operations.UPLOADS_PRESIGN, json=body)
        return form

    def complete(self, upload_id: str) -> UploadInPiecesView:
        """Say that a presigned form was sent."""
        made: UploadInPiecesView = self._at.json(
            operations.UPLOADS_COMPLETE, ids={"upload_id": upload_id}, timeout=SLOW
        )
        return made

    def get(self, upload_id: str) -> UploadInPiecesView:
        """How far an upload is."""
        found: UploadInPiecesView = self._at.json(
            operations.UPLOADS_GET, ids={"upload_id": upload_id}
        )
        return found

    def list(self, **query: Unpack[UploadsListQuery]) -> Iterator[UploadInPiecesView]:
        """Uploads that have not expired."""
        return self._at.listed(operations.UPLOADS_LIST, query)

    def delete(self, upload_id: str) -> None:
        """Give up an upload and what has come of it."""
        ids = {"upload_id": upload_id}
        self._at.call(operations.UPLOADS_DELETE, ids=ids, headers=files.TUS)
