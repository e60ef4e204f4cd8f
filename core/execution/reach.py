"""Where messages may be sent: addresses are judged, and what was judged is connected to."""

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Self
from urllib.parse import urlsplit

from core.config import Settings, s3_origin
from core.errors import InvalidInput
from core.storage.addresses import (
    MOST,
    Address,
    is_loopback,
    is_nobodys_store,
    is_public,
    looked_up,
)

LONGEST_URL: Final = 2_048
# No user, no fragment, nothing that programs read differently.
URL: Final = re.compile(r"((?i:https?)://[^/?#\\@\s]+)([/?][!-\[\]-~]*)?")
PORTS: Final = {"http": 80, "https": 443}


class NotAllowed(Exception):
    """The name leads to an address that nothing is sent to."""


@dataclass(frozen=True, slots=True)
class Reach:
    """The internet by https; `private`: the operator's own network too; `loopback`: this machine
    as well, where there may be no certificates."""

    private: bool = False
    loopback: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the operator allows; this machine never to strangers who have keys."""
        private = settings.webhooks.allow_private
        return cls(private, loopback=private and settings.auth == "none")

    def checked(self, url: str) -> str:
        """The URL in one spelling, as far as can be told without looking its name up.

        Raises InvalidInput (`url_not_allowed`).
        """
        found = URL.fullmatch(url) if len(url) <= LONGEST_URL else None
        try:
            origin = s3_origin(found[1] if found else "")
        except ValueError:
            raise _refused("give https://HOST/PATH, without a user or a fragment") from None
        target = (found and found[2]) or "/"
        if "#" in target:
            raise _refused("leave the fragment out: it is never sent")
        spelled = origin + (target if target.startswith("/") else f"/{target}")
        parts = urlsplit(spelled)
        host = parts.hostname or ""
        literal = _literal(host)
        if literal is not None and not self.admits(literal, parts.scheme):
            raise _refused("nothing is sent to this address")
        if (
            literal is None
            and parts.scheme == "http"
            and not (self.loopback and host == "localhost")
        ):
            raise _refused("give an https URL: without, anybody on the way could read along")
        return spelled

    def admits(self, address: Address, scheme: str) -> bool:
        """Whether messages may be sent there."""
        if is_loopback(address):
            return self.loopback
        if scheme != "https":
            return False
        return not is_nobodys_store(address) if self.private else is_public(address)

    async def pinned(self, url: str) -> tuple[str, ...]:
        """The addresses to try, looked up once. Raises NotAllowed unless all are, OSError."""
        parts = urlsplit(url)
        found = await looked_up(parts.hostname or "", parts.port or PORTS[parts.scheme])
        if not all(self.admits(each, parts.scheme) for each in found):
            raise NotAllowed
        return tuple(map(str, found[:MOST]))


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _refused(words: str) -> InvalidInput:
    return InvalidInput(f"url: {words}.", code="url_not_allowed")
