"""Webhooks: addresses that are told of events, and how each delivery went."""

from collections.abc import AsyncIterator
from typing import Unpack

from headstart import operations
from headstart._async.connection import AsyncConnection
from headstart.schema import (
    DeliveryView,
    NewSecretView,
    WebhookBody,
    WebhookChangeBody,
    WebhooksDeliveriesQuery,
    WebhooksListQuery,
    WebhookView,
    WholeDeliveryView,
)


class AsyncWebhooks:
    """`client.webhooks`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._at = connection

    async def create(self, **body: Unpack[WebhookBody]) -> NewSecretView:
        """Have an address told of events; the answer alone ever shows the secret."""
        made: NewSecretView = await self._at.json(operations.WEBHOOKS_CREATE, json=body)
        return made

    async def get(self, webhook_id: str) -> WebhookView:
        """A webhook, and why it was turned off if it was."""
        ids = {"webhook_id": webhook_id}
        found: WebhookView = await self._at.json(operations.WEBHOOKS_GET, ids=ids)
        return found

    def list(self, **query: Unpack[WebhooksListQuery]) -> AsyncIterator[WebhookView]:
        """Webhooks, newest first, fetched page by page as they are read."""
        return self._at.listed(operations.WEBHOOKS_LIST, query)

    async def update(self, webhook_id: str, **body: Unpack[WebhookChangeBody]) -> WebhookView:
        """Change what is given."""
        ids = {"webhook_id": webhook_id}
        found: WebhookView = await self._at.json(operations.WEBHOOKS_UPDATE, ids=ids, json=body)
        return found

    async def delete(self, webhook_id: str) -> None:
        """Tell an address nothing any more."""
        await self._at.call(operations.WEBHOOKS_DELETE, ids={"webhook_id": webhook_id})

    async def rotate(self, webhook_id: str) -> NewSecretView:
        """A new secret; for a day the old one signs along."""
        ids = {"webhook_id": webhook_id}
        made: NewSecretView = await self._at.json(operations.WEBHOOKS_ROTATE, ids=ids)
        return made

    async def test(self, webhook_id: str) -> WholeDeliveryView:
        """Send an event that means nothing, now; how it went is its delivery's."""
        ids = {"webhook_id": webhook_id}
        sent: WholeDeliveryView = await self._at.json(operations.WEBHOOKS_TEST, ids=ids)
        return sent

    def deliveries(
        self, webhook_id: str, **query: Unpack[WebhooksDeliveriesQuery]
    ) -> AsyncIterator[DeliveryView]:
        """What an address was told, and how that went."""
        ids = {"webhook_id": webhook_id}
        return self._at.listed(operations.WEBHOOKS_DELIVERIES, query, ids=ids)

    async def delivery(self, webhook_id: str, delivery_id: str) -> WholeDeliveryView:
        """One delivery with its body."""
        ids = {"webhook_id": webhook_id, "delivery_id": delivery_id}
        found: WholeDeliveryView = await self._at.json(operations.WEBHOOKS_DELIVERY, ids=ids)
        return found

    async def redeliver(self, webhook_id: str, delivery_id: str) -> WholeDeliveryView:
        """Send the same once more, under the same id."""
        ids = {"webhook_id": webhook_id, "delivery_id": delivery_id}
        sent: WholeDeliveryView = await self._at.json(operations.WEBHOOKS_REDELIVER, ids=ids)
        return sent
