"""The client: one object a server, its resources as attributes."""

from collections.abc import AsyncIterator
from typing import Any, Self, Unpack

import httpx

from headstart import operations, profiles
from headstart._async.connection import AsyncConnection
from headstart._async.datasets import AsyncDatasets
from headstart._async.jobs import AsyncJobs
from headstart._async.keys import AsyncKeys
from headstart._async.models import AsyncModels
from headstart._async.prunings import AsyncPrunings
from headstart._async.searches import AsyncSearches
from headstart._async.supernets import AsyncSupernets
from headstart._async.uploads import AsyncUploads
from headstart._async.webhooks import AsyncWebhooks
from headstart.schema import (
    AuditListQuery,
    AuditView,
    EmbeddersListQuery,
    EmbedderView,
    HealthView,
    MeView,
    ReadinessView,
)


class AsyncClient:
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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        target = profiles.chosen(url, key, profile)
        self._at = AsyncConnection(
            target,
            timeout=timeout,
            retry_for=retry_for,
            allow_insecure=allow_insecure,
            transport=transport,
        )
        self.url = target.url
        self.jobs = AsyncJobs(self._at)
        self.datasets = AsyncDatasets(self._at, self.jobs)
        self.keys = AsyncKeys(self._at)
        self.models = AsyncModels(self._at)
        self.prunings = AsyncPrunings(self._at, self.jobs, self.datasets)
        self.searches = AsyncSearches(self._at, self.jobs, self.datasets, self.models)
        self.supernets = AsyncSupernets(self._at, self.jobs, self.datasets)
        self.uploads = AsyncUploads(self._at)
        self.webhooks = AsyncWebhooks(self._at)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connections back."""
        await self._at.aclose()

    async def request(
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
        return await self._at.request(method, path, **options)

    def embedders(self, **query: Unpack[EmbeddersListQuery]) -> AsyncIterator[EmbedderView]:
        """What datasets can be seen through."""
        return self._at.listed(operations.EMBEDDERS_LIST, query)

    def audit(self, **query: Unpack[AuditListQuery]) -> AsyncIterator[AuditView]:
        """What was done in the project, and refused, by whom."""
        return self._at.listed(operations.AUDIT_LIST, query)

    async def me(self) -> MeView:
        """Whose key this is: its project, what it may do, limits and what is used of them."""
        found: MeView = await self._at.json(operations.ME_GET)
        return found

    async def health(self) -> HealthView:
        """Whether the process answers."""
        found: HealthView = await self._at.json(operations.HEALTH_LIVE)
        return found

    async def ready(self) -> ReadinessView:
        """Whether database, store and queue answer. Raises Problem naming what does not."""
        found: ReadinessView = await self._at.json(operations.HEALTH_READY, retry_for=0)
        return found
