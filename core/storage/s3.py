"""Objects in an S3-compatible bucket. The only file that knows boto3.

Nothing here leans on conditional writes: stores differ in how they race. Keys never collide by
construction (`core.domain.keys`), and what exists is said by the database, not by the bucket.
"""

import contextlib
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from core.config import S3Storage
from core.errors import CorruptObject, NotFound, Unavailable
from core.ports import Heard, Presigned, Stored, Unfinished, unheard
from core.storage import presign
from core.storage.keys import checked

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

MEBIBYTE = 1024 * 1024
DIGEST = "sha256"  # the name of our checksum among the object's metadata
READ_ATTEMPTS = 3
MISSING = {"404", "NoSuchKey", "NoSuchUpload", "NotFound"}
DELETERS = 8
# Several parts at a time; a failed upload is aborted by the transfer manager.
TRANSFER = TransferConfig(
    multipart_threshold=16 * MEBIBYTE, multipart_chunksize=8 * MEBIBYTE, max_concurrency=4
)


class S3Store:
    """An `ObjectStore` in one bucket, which must exist."""

    def __init__(self, settings: S3Storage) -> None:
        self._bucket = settings.bucket
        self._public_url = settings.public_url
        self._client = _client(settings)

    def put(self, key: str, source: Path, *, heard: Heard = unheard) -> None:
        """Store the file; durable on return. A second `put` of a key is a no-op."""
        if self.exists(key):
            return
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, DIGEST).hexdigest()
        try:
            with _store_errors():
                self._client.upload_file(
                    Filename=str(source),
                    Bucket=self._bucket,
                    Key=key,
                    ExtraArgs={"Metadata": {DIGEST: digest}},
                    Callback=heard,
                    Config=TRANSFER,
                )
        except Unavailable:
            # Writers of one key may disturb each other: whoever came first stored our bytes too.
            if self._stored_digest(key) != digest:
                raise

    def open(self, key: str) -> BinaryIO:
        """A readable, seekable stream of the object (the caller closes it). Raises NotFound."""
        head = self._head(key)
        reader = _ObjectReader(
            self._client,
            bucket=self._bucket,
            key=key,
            size=head["ContentLength"],
            digest=head["Metadata"].get(DIGEST),
        )
        return cast(BinaryIO, BufferedReader(reader, buffer_size=MEBIBYTE))

    def exists(self, key: str) -> bool:
        """Whether the object is there."""
        try:
            self._head(key)
        except NotFound:
            return False
        return True

    def listing(self, folder: str) -> Iterator[Stored]:
        """Every object whose key lies under `folder` ("" for all), in no particular order.

        What is put or deleted meanwhile may be in it or not.
        """
        prefix = f"{checked(folder.rstrip('/'))}/" if folder else ""
        pages = self._client.get_paginator("list_objects_v2")
        with _store_errors():
            for page in pages.paginate(Bucket=self._bucket, Prefix=prefix):
                for each in page.get("Contents", ()):
                    yield Stored(each["Key"], each["Size"], each["LastModified"])

    def delete(self, keys: Iterable[str]) -> None:
        """Remove the objects; those that are not there are no error."""
        # One request each: what signs a request for many of them, stores do not agree upon.
        with ThreadPoolExecutor(DELETERS) as pool:
            try:
                for _ in pool.map(self._delete, keys):
                    pass
            except Unavailable:
                pool.shutdown(cancel_futures=True)  # the others would wait as long, in turn
                raise

    def unfinished(self) -> Iterator[Unfinished]:
        """Every `put` that has begun and not ended, those of killed processes included.

        Of those in several parts; smaller ones are whole or leave nothing.
        """
        pages = self._client.get_paginator("list_multipart_uploads")
        with _store_errors():
            for page in pages.paginate(Bucket=self._bucket):
                for each in page.get("Uploads", ()):
                    key, mark = each["Key"], each["UploadId"]
                    yield Unfinished(key, mark, self._parts_bytes(key, mark), each["Initiated"])

    def discard(self, unfinished: Unfinished) -> None:
        """Free what it takes; its `put`, if it still runs, fails with Unavailable."""
        with contextlib.suppress(NotFound), _store_errors():
            self._client.abort_multipart_upload(
                Bucket=self._bucket, Key=unfinished.key, UploadId=unfinished.mark
            )

    def presign(self, key: str, *, length: int, seconds: float) -> Presigned:
        """Let the bearer store `length` bytes under this key, for so long."""
        with _store_errors():
            made = presign.form(
                self._client, self._bucket, checked(key), length=length, seconds=seconds
            )
        # What is signed names the bucket, not the host that it is reached by.
        url = f"{self._public_url}/{self._bucket}" if self._public_url else made.url
        return replace(made, url=url)

    def check(self) -> None:
        """Raise Unavailable, saying why, when the store cannot be read."""
        try:
            with _store_errors():
                self._client.head_bucket(Bucket=self._bucket)
        except NotFound as error:
            raise Unavailable(f"The bucket {self._bucket!r} does not exist.") from error

    def create_bucket(self) -> None:
        """Make the bucket if there is none: part of setting a cluster up."""
        try:
            with _store_errors():
                self._client.head_bucket(Bucket=self._bucket)
        except NotFound:
            with _store_errors():
                self._client.create_bucket(Bucket=self._bucket)

    def close(self) -> None:
        """Close pooled connections; the store cannot be used afterwards."""
        self._client.close()

    def _head(self, key: str) -> "HeadObjectOutputTypeDef":
        with _store_errors():
            return self._client.head_object(Bucket=self._bucket, Key=checked(key))

    def _delete(self, key: str) -> None:
        with contextlib.suppress(NotFound), _store_errors():
            self._client.delete_object(Bucket=self._bucket, Key=checked(key))

    def _parts_bytes(self, key: str, mark: str) -> int:
        pages = self._client.get_paginator("list_parts")
        with contextlib.suppress(NotFound), _store_errors():  # it may end meanwhile
            parts = pages.paginate(Bucket=self._bucket, Key=key, UploadId=mark)
            return sum(part["Size"] for page in parts for part in page.get("Parts", ()))
        return 0

    def _stored_digest(self, key: str) -> str | None:
        with contextlib.suppress(NotFound, Unavailable):
            return self._head(key)["Metadata"].get(DIGEST)
        return None


class _ObjectReader(RawIOBase):
    """Reads an object from any position; a connection that breaks is opened again where it broke.

    Read from start to end without a seek, the bytes are compared with the checksum stored at
    `put`: the last read raises CorruptObject if they differ.
    """

    def __init__(
        self, client: "S3Client", *, bucket: str, key: str, size: int, digest: str | None
    ) -> None:
        super().__init__()
        self._client, self._bucket, self._key = client, bucket, key
        self._size, self._expected = size, digest
        self._position = 0
        self._body: StreamingBody | None = None
        self._hash = hashlib.sha256()
        self._hashed = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        target = offset + (0, self._position, self._size)[whence]
        if target < 0:
            raise ValueError("negative seek position")
        if target != self._position:
            self._drop_body()
            self._position = target
        return target

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self._size:
            return 0
        data = self._read(len(buffer))
        buffer[: len(data)] = data
        self._verify(data)
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        self._drop_body()
        super().close()

    def _read(self, size: int) -> bytes:
        for attempt in range(1, READ_ATTEMPTS + 1):
            try:
                with _store_errors():
                    self._body = self._body or self._request()
                    data = self._body.read(min(size, self._size - self._position))
                if data:
                    return data
                raise Unavailable("The object store ended an object early.")
            except Unavailable:
                self._drop_body()
                if attempt == READ_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _request(self) -> "StreamingBody":
        span = f"bytes={self._position}-"
        return self._client.get_object(Bucket=self._bucket, Key=self._key, Range=span)["Body"]

    def _verify(self, data: bytes) -> None:
        if self._position != self._hashed:  # a part was skipped: nothing left to compare
            return
        self._hash.update(data)
        self._hashed += len(data)
        whole = self._hashed == self._size and self._expected is not None
        if whole and self._hash.hexdigest() != self._expected:
            raise CorruptObject("A stored object does not match its checksum.")

    def _drop_body(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None


def _client(settings: S3Storage) -> "S3Client":
    secret, access = settings.secret_key, settings.access_key
    config = Config(
        signature_version="s3v4",
        connect_timeout=2,
        read_timeout=20,
        retries={"mode": "standard", "total_max_attempts": 3},
        max_pool_connections=16,
        # Trailing checksums are Amazon's own; a signed payload is verified by every store.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "payload_signing_enabled": True,
            "addressing_style": "path" if settings.endpoint_url else "auto",
        },
    )
    return Session().client(
        "s3",
        endpoint_url=settings.endpoint_url,
        region_name=settings.region,
        aws_access_key_id=access.get_secret_value() if access else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=config,
    )


@contextlib.contextmanager
def _store_errors() -> Iterator[None]:
    """Say boto3's errors in the store's own words, without keys, addresses or secrets."""
    try:
        yield
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "unknown")
        if code in MISSING:
            raise NotFound("There is no such object.") from error
        raise Unavailable(f"The object store refused: {code}.") from error
    except (BotoCoreError, Boto3Error, OSError) as error:
        name = type(error).__name__
        raise Unavailable(f"The object store does not answer ({name}).") from error
