"""What an S3 endpoint answers, judged. It is somebody else's: none of its words are repeated."""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import cast

import httpx

from core.errors import InvalidInput, Unavailable

WORDS_SECONDS, WORDS_BYTES = 10.0, 64 * 1024  # for an error's body
ETAG = re.compile(r'"[!#-~]{1,256}"')
CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")
# What its codes mean to whoever asked.
MEANINGS = {
    "AccessDenied": ("s3_access_denied", "these credentials may not read the object"),
    "AuthorizationHeaderMalformed": ("s3_access_denied", "the region is another than was said"),
    "ExpiredToken": ("s3_access_denied", "the session token is too old"),
    "IllegalLocationConstraintException": ("s3_access_denied", "the bucket's region is another"),
    "InvalidAccessKeyId": ("s3_access_denied", "it does not know this access key"),
    "InvalidToken": ("s3_access_denied", "it does not know this session token"),
    "RequestTimeTooSkewed": ("s3_access_denied", "its clock and ours differ too much"),
    "SignatureDoesNotMatch": ("s3_access_denied", "the secret key is not that of the access key"),
    "InvalidObjectState": ("s3_refused", "the object is archived: restore it first"),
    "NoSuchBucket": ("s3_not_found", "it has no such bucket"),
    "NoSuchKey": ("s3_not_found", "the bucket has no such object"),
}
BY_STATUS = {
    401: ("s3_access_denied", "these credentials may not read the object"),
    403: ("s3_access_denied", "these credentials may not read the object"),
    404: ("s3_not_found", "it has no such object"),
    412: ("s3_object_changed", "the object was replaced while it was read; begin anew"),
    416: ("s3_object_changed", "the object was replaced while it was read; begin anew"),
}


class Broken(Exception):
    """A connection or a server that failed in passing: asking again may help."""


def failed(why: str) -> Unavailable:
    """The endpoint does not do its part now."""
    return Unavailable(f"The endpoint does not deliver: {why}.", code="fetch_failed")


def bad(why: str) -> InvalidInput:
    """What answers is not the S3 that was asked for."""
    return InvalidInput(f"The endpoint does not speak S3: {why}.", code="s3_bad_answer")


async def check(response: httpx.Response) -> None:
    """Raise InvalidInput or Broken for an answer that is a refusal."""
    status = response.status_code
    if status < 300:
        return
    if status < 400:
        words = (
            f"The endpoint sends us elsewhere ({status}), and nothing follows it there: name the "
            "endpoint and the region of the bucket itself."
        )
        raise InvalidInput(words, code="url_not_allowed")
    if status == 429 or status >= 500:
        raise Broken(f"it answers {status}")
    usual = BY_STATUS.get(status, ("s3_refused", f"it answers {status}"))
    code, meaning = MEANINGS.get(await _code(response), usual)
    raise InvalidInput(f"The endpoint refused: {meaning}.", code=code)


def told(response: httpx.Response) -> tuple[int, str]:
    """The object's length and its ETag, which a change of it changes."""
    length, etag = response.headers.get("content-length", ""), response.headers.get("etag", "")
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise bad("it does not say how long the object is")
    if not ETAG.fullmatch(etag):
        raise bad("it gives the object no ETag, so that a change would go unseen")
    return int(length), etag


def check_span(response: httpx.Response, start: int, end: int, length: int, etag: str) -> None:
    """Raise InvalidInput unless these are the bytes that were asked for, of the same object."""
    given = response.headers.get
    if given("etag") != etag:
        code, words = BY_STATUS[412]
        raise InvalidInput(f"The endpoint refused: {words}.", code=code)
    said = response.status_code, given("content-range"), given("content-length")
    if said != (206, f"bytes {start}-{end - 1}/{length}", str(end - start)):
        raise bad("it sends other bytes than those that were asked for")


def body_of(response: httpx.Response) -> "aclosing[AsyncGenerator[bytes, None]]":
    """The body as it comes, let go of at the end of the block."""
    return aclosing(cast(AsyncGenerator[bytes, None], response.aiter_raw()))


async def _code(response: httpx.Response) -> str:
    """The code of an error's XML, of which a little is read; empty if it says none."""
    words = b""
    try:
        async with asyncio.timeout(WORDS_SECONDS), body_of(response) as body:
            async for chunk in body:
                words += chunk
                if len(words) > WORDS_BYTES:
                    break
    except (TimeoutError, httpx.TransportError):
        return ""
    found = CODE.search(words)
    return found[1].decode() if found else ""
