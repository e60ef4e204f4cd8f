"""Sending files in pieces: a broken connection costs what was on its way (tus 1.0)."""

import base64
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from api import tus
from api.remote import CHUNK, Json, Refused, Remote, path_of

PAUSES = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0)  # between tries that bring nothing
# The connection broke, the server is being restarted or still believes the broken request.
GOES_ON = frozenset(
    {"unreachable", "unavailable", "incomplete_body", "upload_busy", "wrong_offset"}
)
SPOKEN = {"Tus-Resumable": tus.VERSION}


def upload(
    remote: Remote,
    paths: Sequence[Path],
    *,
    name: str,
    options: Json,
    sent: Callable[[int], None],
    fetched: Sequence[str] = (),
) -> Json:
    """Send archives; the job that makes one dataset of them and of what is there already as
    uploads (`fetched`). `sent` hears of every piece.

    Each begins when the one before is there: few may be under way at once, of all callers. Raises
    Refused; then nothing stays of what came.
    """
    there = [path_of("uploads", each) for each in fetched]
    try:
        for path in paths:
            there.append(_begun(remote, path))
            _Sending(remote, path, there[-1], sent).to_the_end()
        uploads = [address.rsplit("/", 1)[1] for address in there]
        given = {key: value for key, value in options.items() if value is not None}
        return remote.post("/v1/datasets:ingest", {"uploads": uploads, "name": name, **given})
    except BaseException:
        for address in there:
            with suppress(Refused):  # a job has it after all, or it is to expire
                remote.ask("DELETE", address, headers=SPOKEN)
        raise


def _begun(remote: Remote, path: Path) -> str:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    told = {"filename": path.name, "sha256": sha256}
    # A name may hold bytes that are no text.
    encoded = {
        key: base64.b64encode(value.encode(errors="replace")) for key, value in told.items()
    }
    pairs = (f"{key} {value.decode()}" for key, value in encoded.items())
    length = str(path.stat().st_size)
    headers = {**SPOKEN, "Upload-Length": length, "Upload-Metadata": ",".join(pairs)}
    return remote.ask("POST", "/v1/uploads", headers=headers).headers["location"]


def _encoded(value: str) -> str:
    """As tus wants it; a file's name may hold bytes that are no text."""
    return base64.b64encode(value.encode(errors="replace")).decode()


class _Sending:
    """One file on its way."""

    def __init__(
        self, remote: Remote, path: Path, address: str, sent: Callable[[int], None]
    ) -> None:
        self._remote, self._path, self._address, self._sent = remote, path, address, sent
        self._length = path.stat().st_size
        self._there = self._told = 0  # bytes that the server has, and that were told of

    def to_the_end(self) -> None:
        """Go on until the server has it all. Raises Refused when nothing gets through."""
        vain = 0
        while self._there < self._length:
            try:
                before = self._there
                self._go_on()
                vain = 0 if self._there > before else vain + 1
            except Refused as refusal:
                if refusal.code not in GOES_ON or vain == len(PAUSES):
                    raise
                time.sleep(PAUSES[vain])
                vain += 1

    def _go_on(self) -> None:
        """From where the server is; what was lost on the way is sent again."""
        told = self._remote.ask("HEAD", self._address, headers=SPOKEN)
        self._there = int(told.headers["upload-offset"])
        self._tell(self._there - self._told)
        headers = {
            **SPOKEN,
            "Content-Type": tus.MEDIA_TYPE,
            "Upload-Offset": str(self._there),
            "Content-Length": str(self._length - self._there),
        }
        answer = self._remote.ask("PATCH", self._address, headers=headers, content=self._rest())
        self._there = int(answer.headers["upload-offset"])

    def _rest(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self._there)
            while piece := file.read(CHUNK):
                yield piece
                self._tell(len(piece))

    def _tell(self, size: int) -> None:
        self._told += size
        if size:
            self._sent(size)
