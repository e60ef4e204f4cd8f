"""One message to one receiver, a stranger: bounded in time and size, never led elsewhere."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx
import structlog

from core.domain.webhooks import Attempt, Fault, Outcome, Outgoing, signature
from core.execution.reach import NotAllowed, Reach
from core.services.sealing import Seal, Unsealable

TOTAL_SECONDS, CONNECT_SECONDS = 10.0, 5.0
READ_SECONDS, MOST_READ = 1.0, 10 * 1024  # of an answer's body, which nobody looks at
GONE = 410

log = structlog.stdlib.get_logger(__name__)


class Courier:
    """Carries messages, signed with the secrets that the seal opens, as far as it may reach."""

    def __init__(self, reach: Reach, seal: Seal) -> None:
        self._reach, self._seal = reach, seal

    async def deliver(self, message: Outgoing) -> Outcome:
        """Make one attempt; whatever becomes of it is an outcome."""
        began, at = time.monotonic(), datetime.now(UTC)
        status, retry_after = None, 0.0
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                status, retry_after = await self._answer(message, int(at.timestamp()))
            fault = _fault_of(status)
        except (OSError, UnicodeError, httpx.HTTPError, NotAllowed, Unsealable) as error:
            fault = _fault(error)
        attempt = Attempt(at, round(time.monotonic() - began, 3), status, fault)
        return Outcome(attempt, retry_after, gone=status == GONE)

    async def _answer(self, message: Outgoing, timestamp: int) -> tuple[int, float]:
        headers = self._headers(message, timestamp)
        addresses = await self._reach.pinned(message.url)
        async with httpx.AsyncHTTPTransport(verify=self._context, trust_env=False) as transport:
            for address in addresses[:-1]:
                with suppress(httpx.ConnectError, httpx.ConnectTimeout):
                    return await _asked(transport, _request(message, address, headers))
            return await _asked(transport, _request(message, addresses[-1], headers))

    def _headers(self, message: Outgoing, timestamp: int) -> dict[str, str]:
        """Those of Standard Webhooks, and a signature with each secret that counts."""
        secrets = [self._seal.open(each) for each in message.secrets]
        signed = (signature(each, message.message_id, timestamp, message.body) for each in secrets)
        return {
            "Host": urlsplit(message.url).netloc,
            "Content-Type": "application/json",
            "User-Agent": "headstart",
            "Accept-Encoding": "identity",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signed),
        }

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return httpx.create_ssl_context()


def _request(message: Outgoing, address: str, headers: dict[str, str]) -> httpx.Request:
    """To this address, while Host and certificate keep the name."""
    parts = urlsplit(message.url)
    timeout = httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS)
    extensions: dict[str, Any] = {"timeout": timeout.as_dict(), "sni_hostname": parts.hostname}
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    at = httpx.URL(scheme=parts.scheme, host=address, port=parts.port, raw_path=target.encode())
    return httpx.Request(
        "POST", at, headers=headers, content=message.body.encode(), extensions=extensions
    )


async def _asked(transport: httpx.AsyncHTTPTransport, request: httpx.Request) -> tuple[int, float]:
    """The answer's status, and for how long it asks to be left alone."""
    response = await transport.handle_async_request(request)
    try:
        with suppress(httpx.HTTPError, TimeoutError):  # the status has been said
            async with asyncio.timeout(READ_SECONDS):
                await _read(response)
    finally:
        await response.aclose()
    return response.status_code, _retry_after(response)


async def _read(response: httpx.Response) -> None:
    """Let a receiver end its answer, if it is a short one."""
    left = MOST_READ
    async with aclosing(response.aiter_raw()) as body:  # type: ignore[type-var]
        async for chunk in body:
            left -= len(chunk)
            if left <= 0:
                return


def _retry_after(response: httpx.Response) -> float:
    """Seconds until the receiver wants to be asked again; 0 if it does not say."""
    said = response.headers.get("retry-after", "")
    if said.isascii() and said.isdigit():
        return float(said[:9])
    with suppress(ValueError, OverflowError):  # the years that dates have, have an end
        moment = parsedate_to_datetime(said)
        if moment.tzinfo is not None:
            return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return 0.0


def _fault_of(status: int) -> Fault | None:
    if 200 <= status < 300:
        return None
    return Fault.REDIRECT if 300 <= status < 400 else Fault.STATUS


def _fault(error: Exception) -> Fault:
    """The word for what went wrong; what an error says may name addresses, so it is not kept."""
    match error:
        case Unsealable():
            return Fault.SEALED
        case NotAllowed():
            return Fault.NOT_ALLOWED
        case httpx.TimeoutException() | TimeoutError():
            return Fault.TIMEOUT
        case httpx.ConnectError():
            wrong = any(isinstance(each, ssl.SSLError) for each in _behind(error))
            return Fault.CERTIFICATE if wrong else Fault.UNREACHABLE
        case socket.gaierror() | UnicodeError():
            return Fault.UNKNOWN_HOST
        case httpx.HTTPError():
            return Fault.BROKEN
        case _:  # of this machine: certificates that are not there, no more open files
            log.warning("delivery_not_begun", exc_info=error)
            return Fault.BROKEN


def _behind(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
