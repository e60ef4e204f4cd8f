"""One object of somebody else's bucket, read with their credentials, which live in memory alone.

botocore signs, but does not send: its client follows a bucket's redirects to other hosts, reads
what an error says to the end however long, and takes proxies from the environment. Here one
address is asked, of the endpoint that the operator has listed, and every answer is bounded in
size and time.
"""

import asyncio
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from pydantic import SecretStr

from core.config import s3_origin
from core.errors import InvalidInput
from core.storage import s3_answers
from core.storage.addresses import resolved
from core.storage.s3_answers import Broken, body_of

ANSWER_SECONDS = 10.0  # for a connection and the head of an answer
READ = httpx.Timeout(10.0, connect=5.0)
# Less than so many bytes in so many seconds of waiting, and the reading ends.
PACE_SECONDS, PACE_BYTES = 10.0, 640 * 1024
ATTEMPTS, ATTEMPT_SECONDS = 3, 1.0  # at a connection that breaks, and between them
BUCKET = re.compile(r"[a-z0-9](?!.*\.\.)[a-z0-9.-]{1,61}[a-z0-9]")
LONGEST_KEY = 1024


@dataclass(frozen=True, slots=True)
class Source:
    """Which object, and who asks for it."""

    endpoint: str
    region: str
    bucket: str
    key: str
    access_key: SecretStr
    secret_key: SecretStr
    session_token: SecretStr | None = None

    @property
    def path(self) -> str:
        """The object's address at the endpoint: the host says nothing of a caller's choosing."""
        return f"/{self.bucket}/{quote(self.key, safe='/~')}"


def allowed_endpoint(endpoint: str, listed: Collection[str]) -> str:
    """The endpoint as it is listed. Raises InvalidInput (`url_not_allowed`) unless it is."""
    try:
        origin = s3_origin(endpoint)
    except ValueError as error:
        raise InvalidInput(f"endpoint: {error}.", code="url_not_allowed") from None
    if origin not in listed:
        words = (
            "Nothing is fetched from this endpoint: whoever runs the service lists those that it "
            "may reach in HEADSTART_S3_ENDPOINTS."
        )
        raise InvalidInput(words, code="url_not_allowed")
    return origin


def parsed(uri: str) -> tuple[str, str]:
    """Bucket and key of `s3://BUCKET/KEY`. Raises InvalidInput (`invalid_s3_uri`)."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not uri.startswith("s3://") or not BUCKET.fullmatch(bucket):
        raise _bad_uri("give s3://BUCKET/KEY, the bucket in lower case")
    if key == "" or key.endswith("/"):
        raise _bad_uri("it names a folder: name one archive in it, and import several one by one")
    if not key.isprintable() or len(key.encode()) > LONGEST_KEY:
        raise _bad_uri(f"a key has at most {LONGEST_KEY} bytes and nothing unprintable in it")
    if {".", ".."} & set(key.split("/")):
        raise _bad_uri("a key has no '.' or '..' among its parts")
    return bucket, key


def _bad_uri(words: str) -> InvalidInput:
    return InvalidInput(f"uri: {words}.", code="invalid_s3_uri")


class RemoteObject:
    """An object as it was when it was first asked for; a change of it is an error."""

    def __init__(self, wire: "_Wire", length: int, etag: str) -> None:
        self._wire = wire
        self.length = length
        self.etag = etag

    async def chunks(self, span: int) -> AsyncGenerator[bytes, None]:
        """All of its bytes, asked for by the span; goes on where a connection breaks.

        Raises Unavailable (`fetch_failed`), and InvalidInput: `url_not_allowed`,
        `s3_access_denied`, `s3_not_found`, `s3_refused`, `s3_object_changed`, `s3_bad_answer`.
        """
        position, left = 0, ATTEMPTS
        while position < self.length:
            end = min(position + span, self.length)
            try:
                async with aclosing(self._span(position, end)) as came:
                    async for chunk in came:
                        position += len(chunk)
                        yield chunk
            except Broken as broken:
                left -= 1
                if left == 0:
                    raise s3_answers.failed(str(broken)) from None
                await asyncio.sleep(ATTEMPT_SECONDS)

    async def _span(self, start: int, end: int) -> AsyncGenerator[bytes, None]:
        wanted = {"Range": f"bytes={start}-{end - 1}", "If-Match": self.etag}
        async with self._wire.asked("GET", wanted) as response:
            await s3_answers.check(response)
            s3_answers.check_span(response, start, end, self.length, self.etag)
            left, pace = end - start, _Pace()
            async with body_of(response) as body:
                while left and (chunk := await pace.next(body)):
                    left -= len(chunk)
                    if left < 0:  # in chunks, whatever its Content-Length says
                        raise s3_answers.bad("it sends more bytes than it says")
                    yield chunk
            if left:
                raise Broken("it ended an answer early")


@asynccontextmanager
async def opened(source: Source) -> AsyncIterator[RemoteObject]:
    """The object, while the block runs. Raises what `RemoteObject.chunks` does."""
    place = urlsplit(source.endpoint)
    host = place.hostname or ""
    port = place.port or (443 if place.scheme == "https" else 80)
    found = await resolved(host, port, seconds=ANSWER_SECONDS)
    secure = httpx.create_ssl_context() if place.scheme == "https" else False
    async with httpx.AsyncHTTPTransport(verify=secure, trust_env=False) as transport:
        yield await _first([_Wire(source, transport, address) for address in found])


async def _first(wires: list["_Wire"]) -> RemoteObject:
    """The object by way of the first address that can be connected to."""
    for wire in wires:
        with suppress(_Unreachable):
            return await _looked_at(wire)
    raise s3_answers.failed("nothing answers there, or with no certificate that is trusted here")


async def _looked_at(wire: "_Wire") -> RemoteObject:
    try:
        async with wire.asked("HEAD", {}) as response:
            if response.status_code == 200:
                return RemoteObject(wire, *s3_answers.told(response))
        # The refusal of a HEAD has no words; those of a GET say what is wrong.
        async with wire.asked("GET", {"Range": "bytes=0-0"}) as response:
            await s3_answers.check(response)
    except _Unreachable:
        raise
    except Broken as broken:
        raise s3_answers.failed(str(broken)) from None
    raise s3_answers.bad("it answers HEAD with an error and GET without one")


class _Unreachable(Broken):
    """No connection to this address."""


class _Pace:
    """Waits for what comes next, but not for those who send a byte now and then."""

    def __init__(self) -> None:
        self._waited, self._came = 0.0, 0

    async def next(self, body: AsyncIterator[bytes]) -> bytes:
        """The next bytes; none at the end."""
        began = time.monotonic()
        try:
            chunk = await anext(body, b"")
        except httpx.TimeoutException:
            raise s3_answers.failed("it stopped in the middle of an answer") from None
        except httpx.TransportError as error:
            raise Broken(f"the connection broke ({type(error).__name__})") from None
        self._waited += time.monotonic() - began
        self._came += len(chunk)
        if self._waited > PACE_SECONDS:
            if self._came < PACE_BYTES:
                raise s3_answers.failed(f"it sends less than {PACE_BYTES} bytes in 10 seconds")
            self._waited, self._came = 0.0, 0
        return chunk


class _Wire:
    """Signed requests for one object to one address."""

    def __init__(self, source: Source, transport: httpx.AsyncHTTPTransport, address: str) -> None:
        self._source, self._transport, self._address = source, transport, address

    @asynccontextmanager
    async def asked(self, method: str, headers: dict[str, str]) -> AsyncIterator[httpx.Response]:
        """The answer, its body yet to be read. Raises AppError, Broken."""
        request = self._signed(method, headers)
        response = await self._answered(request)
        try:
            yield response
        finally:
            await response.aclose()

    async def _answered(self, request: httpx.Request) -> httpx.Response:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._transport.handle_async_request(request)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            raise _Unreachable("it cannot be connected to") from None
        except (TimeoutError, httpx.TimeoutException):
            raise s3_answers.failed(f"no answer came in {ANSWER_SECONDS:g} seconds") from None
        except httpx.TransportError as error:
            raise Broken(f"the connection broke ({type(error).__name__})") from None

    def _signed(self, method: str, headers: dict[str, str]) -> httpx.Request:
        source = self._source
        url = urlsplit(source.endpoint)
        token = source.session_token
        credentials = Credentials(
            source.access_key.get_secret_value(),
            source.secret_key.get_secret_value(),
            token.get_secret_value() if token else None,
        )
        signed = AWSRequest(method, f"{source.endpoint}{source.path}", headers=headers)
        S3SigV4Auth(credentials, "s3", source.region).add_auth(signed)
        plain = {"Host": url.netloc, "Accept-Encoding": "identity", "User-Agent": "headstart"}
        extensions: dict[str, Any] = {"timeout": READ.as_dict(), "sni_hostname": url.hostname}
        at = httpx.URL(
            scheme=url.scheme,
            host=self._address,
            port=url.port,
            raw_path=source.path.encode(),
        )
        return httpx.Request(
            method, at, headers={**plain, **dict(signed.headers.items())}, extensions=extensions
        )
