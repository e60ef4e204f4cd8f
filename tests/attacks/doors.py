"""The three ways in: a body, an upload in pieces, the form of a page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

TUS = {"Tus-Resumable": "1.0.0"}
BOUNDARY = "----attack7"
PAGE = {"Accept": "text/html"}
FORM = {**PAGE, "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
CHUNK = 1024**2
_CODE = re.compile(r"Code <code>([a-z_]+)</code>, status (\d+)")
_NEVER = ("Traceback", "core/", "site-packages")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, and what is wrong with its form."""

    status: int
    code: str
    wrong: str = ""


def read(answer: httpx.Response) -> Answer:
    """An answer to a program: a problem document, or what was made."""
    wrong = _exposed(answer.text)
    if answer.is_success:
        return Answer(answer.status_code, "accepted", wrong)
    if answer.headers.get("content-type") != "application/problem+json":
        return Answer(answer.status_code, "", wrong or "no problem document")
    problem = answer.json()
    if problem["status"] != answer.status_code or not problem["detail"]:
        wrong = wrong or "a problem document that says something else"
    return Answer(answer.status_code, problem["code"], wrong)


def read_page(answer: httpx.Response) -> Answer:
    """An answer to a browser: a page that says what is wrong, or the way to what was made."""
    wrong = _exposed(answer.text)
    if answer.status_code == 303:
        return Answer(303, "accepted", wrong)
    found = _CODE.search(answer.text)
    if found is None or not answer.headers.get("content-type", "").startswith("text/html"):
        return Answer(answer.status_code, "", wrong or "no page that says what is wrong")
    message = re.search(r'role="alert">([^<]+)</p>', answer.text)
    if int(found[2]) != answer.status_code or message is None or len(message[1]) < 15:
        wrong = wrong or "a page that says something else"
    return Answer(answer.status_code, found[1], wrong)


def _exposed(text: str) -> str:
    seen = [each for each in _NEVER if each in html.unescape(text)]
    return f"shows {seen[0]!r}" if seen else ""


def by_rest(client: httpx.Client, path: Path, name: str, **options: float) -> Answer:
    """As the body of one request."""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Length": str(path.stat().st_size),
    }
    answer = client.post(
        "/v1/datasets", params={"name": name, **options}, content=chunks(path), headers=headers
    )
    return read(answer)


def by_tus(client: httpx.Client, path: Path, name: str) -> Answer:
    """As an upload in two pieces that becomes a dataset."""
    size = path.stat().st_size
    told = base64.b64encode(f"{name}.zip".encode()).decode()
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {told}"}
    begun = client.post("/v1/uploads", headers=headers)
    if not begun.is_success:
        return read(begun)
    address, half = begun.headers["location"], size // 2
    for start, end in ((0, half), (half, size)):
        if start < end:
            sent = client.patch(
                address, content=chunks(path, start, end), headers=piece(start, end - start)
            )
            if not sent.is_success:
                return read(sent)
    upload = address.rsplit("/", 1)[1]
    return read(client.post("/v1/datasets", params={"name": name, "upload": upload}))


def piece(start: int, length: int) -> dict[str, str]:
    """What a piece says of itself."""
    return {
        **TUS,
        "Upload-Offset": str(start),
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(length),
    }


def by_form(client: httpx.Client, path: Path, name: str) -> Answer:
    """As a browser without scripts sends it."""
    head, tail = form_around({"name": name})
    size = len(head) + path.stat().st_size + len(tail)

    def body() -> Iterator[bytes]:
        yield head
        yield from chunks(path)
        yield tail

    headers = {**FORM, "Content-Length": str(size)}
    return read_page(client.post("/datasets", content=body(), headers=headers))


def form_around(fields: Mapping[str, str], file_name: bytes = b"x.zip") -> tuple[bytes, bytes]:
    """What stands before and after the archive in a form."""
    start = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    parts = "".join(f'{start}"{name}"\r\n\r\n{value}\r\n' for name, value in fields.items())
    head = f'{parts}{start}"archive"; filename="'.encode() + file_name
    return (
        head + b'"\r\nContent-Type: application/zip\r\n\r\n',
        f"\r\n--{BOUNDARY}--\r\n".encode(),
    )


def chunks(path: Path, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """The file's bytes, or some of them."""
    left = (path.stat().st_size if end is None else end) - start
    with path.open("rb") as file:
        file.seek(start)
        while left > 0 and (data := file.read(min(CHUNK, left))):
            left -= len(data)
            yield data


DOORS: Mapping[str, Callable[[httpx.Client, Path, str], Answer]] = {
    "rest": by_rest,
    "tus": by_tus,
    "form": by_form,
}
