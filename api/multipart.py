"""The upload forms' bodies, parsed while they stream: a browser without scripts can upload too."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from api import problems, registration, security
from api.deps import ContainerDep
from api.routes import bundles
from api.schemas import Name
from api.uploads import Expected, Received, Sink, body, spooled
from core.config import Settings
from core.errors import InvalidInput

MOST_PARTS = 12
LONGEST_FIELD = 4_096
LONGEST_HEADER = 16_384  # a file's name, which nobody reads, may be long

_name = TypeAdapter(Name)


@dataclass(frozen=True, slots=True)
class NamedArchive:
    """What the form sends."""

    name: str
    archive: Received
    fields: Mapping[str, str]


@dataclass(slots=True)
class _Form:
    """Follows the parser: which part is open, the small fields so far, archive bytes to write."""

    fields: dict[str, bytearray] = field(default_factory=dict)
    archive: list[bytes] = field(default_factory=list)
    parts: int = 0
    ended: bool = False
    _open: str = ""
    _header: bytearray = field(default_factory=bytearray)
    _value: bytearray = field(default_factory=bytearray)

    def on_part_begin(self) -> None:
        self.parts += 1
        self._open = ""
        if self.parts > MOST_PARTS:
            raise _malformed("The form has more parts than it should.")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._open = options.get(b"name", b"").decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._open == "archive":
            self.archive.append(data[start:end])
            return
        kept = self.fields.setdefault(self._open, bytearray())
        kept += data[start:end]
        if len(kept) > LONGEST_FIELD:
            raise _malformed(f"A field of the form is longer than {LONGEST_FIELD} bytes.")

    def on_end(self) -> None:
        self.ended = True


async def form_archive(request: Request, container: ContainerDep) -> AsyncIterator[NamedArchive]:
    """The form's archive as a file, its name, and its other fields."""
    async with _sent(request, container.settings) as (form, archive):
        fields = {name: raw.decode("utf-8", "replace") for name, raw in form.fields.items()}
        yield NamedArchive(_checked(form.fields.get("name", bytearray())), archive, fields)


async def form_bundle(request: Request, container: ContainerDep) -> AsyncIterator[Received]:
    """The file of a form that sends a supernet."""
    room = partial(registration.check_room, container)
    await run_in_threadpool(room, security.announced(request.headers) or 0)
    async with _sent(request, container.settings, bundles.EXPECTED) as (_, bundle):
        yield bundle


@asynccontextmanager
async def _sent(
    request: Request, settings: Settings, expected: Expected | None = None
) -> AsyncIterator[tuple[_Form, Received]]:
    """The form and its file, called `archive` whatever it holds."""
    async with spooled(settings, expected) as (sink, path):
        form = await _parse(request, sink)
        if sink.size == 0:
            noun = expected.noun if expected else "archive"
            raise InvalidInput(f"Choose the {noun} to upload.", code="empty_body")
        yield form, Received(path, sink.size, sink.digest().hex())


async def _parse(request: Request, sink: Sink) -> _Form:
    media, options = parse_options_header(request.headers.get("content-type"))
    if media != b"multipart/form-data" or not options.get(b"boundary"):
        raise _malformed("This address takes the upload form.")
    form = _Form()
    parser = _parser(options[b"boundary"], form)
    beyond = 0
    async for chunk in body(request):
        beyond += len(chunk) if form.ended else 0
        if beyond > LONGEST_FIELD:
            raise _malformed("Something follows the end of the form.")
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise _malformed("The form's body is not well-formed multipart.") from error
        for data in form.archive:
            await sink.write(data)
        form.archive.clear()
    if not form.ended:
        raise InvalidInput("The upload ended before its end; nothing was kept.",
                           code="incomplete_body")  # fmt: skip
    await sink.flush()
    return form


def _parser(boundary: bytes, form: _Form) -> MultipartParser:
    names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "end")
    try:
        return MultipartParser(
            boundary,
            {f"on_{name}": getattr(form, f"on_{name}") for name in names},  # type: ignore[arg-type]
            max_header_size=LONGEST_HEADER,
        )
    except FormParserError as error:
        raise _malformed("The form's boundary is longer than it may be.") from error


def _checked(raw: bytearray) -> str:
    try:
        return _name.validate_python(raw.decode("utf-8", "replace"))
    except ValidationError as error:
        raise problems.invalid(error.errors(), origin="name") from error


def _malformed(message: str) -> InvalidInput:
    return InvalidInput(message, code="malformed_multipart")


FormArchiveDep = Annotated[NamedArchive, Depends(form_archive, scope="function")]
FormBundleDep = Annotated[Received, Depends(form_bundle, scope="function")]
