"""The client: one object a server, its resources as attributes."""

from collections.abc import Iterator
from typing import Any, Self, Unpack

import httpx

from headstart import operations, profiles
from headstart._sync.connection import Connection
from headstart._sync.datasets import Datasets
from headstart._sync.jobs import Jobs
from headstart._sync.keys import Keys
from headstart._sync.models import Models
from headstart._sync.prunings import Prunings
from headstart._sync.searches import Searches
from headstart._sync.supernets import Supernets
from headstart._sync.uploads import Uploads
from headstart._sync.webhooks import Webhooks
from headstart.schema import (
    AuditListQuery,
    AuditView,
    EmbeddersListQuery,
    EmbedderView,
    HealthView,
    MeView,
    ReadinessView,
)


class Client:
    """A Headstart server.

    Args:
        url, key, profile: which server, by which API key. What is left out comes from
            HEADSTART_URL and HEADSTART_KEY, from the profile in `~/.config/headstart/config.toml`
            (`headstart login` writes it), or is the server on this machine.
        timeout: seconds that the server may be silent.
        retry_for: seconds for which a request that is safe to make again is made again.
        allow_insecure: send the key over plain http to another machine, for all to read.
        transport: of httpx, instead of the network.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        profile: str | None = None,
        *,
        timeout: float = 30.0,
        retry_for: float = 60.0,
        allow_insecure: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        target = profiles.chosen(url, key, profile)
        self._at = Connection(
            target,
            timeout=timeout,
            retry_for=retry_for,
            allow_insecure=allow_insecure,
            transport=transport,
        )
        self.url = target.url
        self.jobs = Jobs(self._at)
        self.datasets = Datasets(self._at, self.jobs)
        self.keys = Keys(self._at)
        self.models = Models(self._at)
        self.prunings = Prunings(self._at, self.jobs, self.datasets)
        self.searches = Searches(self._at, self.jobs, self.datasets, self.models)
        self.supernets = Supernets(self._at, self.jobs, self.datasets)
        self.uploads = Uploads(self._at)
        self.webhooks = Webhooks(self._at)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._at.close()

    def request(
        self, method: str, path: str, *, idempotency_key: str | None = None, **options: Any
    ) -> httpx.Response:
        """Any request: `path` begins with `/v1`; `query`, `headers`, `json` and `content` are its
        parts. Asked again where that is safe: by its method, or with an `idempotency_key` where
        the service takes one."""
        if idempotency_key is not None:
            options["headers"] = {
                **(options.get("headers") or {}),
                "Idempotency-Key": idempotency_key,
            }
        return self._at.request(method, path, **options)

    def embedders(self, **query: Unpack[EmbeddersListQuery]) -> Iterator[EmbedderView]:
        """What datasets can be seen through."""
        return self._at.listed(operations.EMBEDDERS_LIST, query)

    def audit(self, **query: Unpack[AuditListQuery]) -> Iterator[AuditView]:
        """What was done in the project, and refused, by whom."""
        return self._at.listed(operations.AUDIT_LIST, query)

    def me(self) -> MeView:
        """Whose key this is: its project, what it may do, limits and what is used of them."""
        found: MeView = self._at.json(operations.ME_GET)
        return found

    def health(self) -> HealthView:
        """Whether the process answers."""
        found: HealthView = self._at.json(operations.HEALTH_LIVE)
        return found

    def ready(self) -> ReadinessView:
        """Whether database, store and queue answer. Raises Problem naming what does not."""
        found: ReadinessView = self._at.json(operations.HEALTH_READY, retry_for=0)
        return found
