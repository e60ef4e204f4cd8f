"""API keys of the project, for those whose key has the scope `admin`."""

from collections.abc import AsyncIterator
from typing import Unpack

from headstart import operations
from headstart._async.connection import AsyncConnection
from headstart.schema import KeyOptions, KeysListQuery, KeyView, NewKeyView


class AsyncKeys:
    """`client.keys`."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._at = connection

    async def create(self, name: str, **options: Unpack[KeyOptions]) -> NewKeyView:
        """Make a key; the answer alone ever shows it."""
        made: NewKeyView = await self._at.json(
            operations.KEYS_CREATE, json={**options, "name": name}
        )
        return made

    def list(self, **query: Unpack[KeysListQuery]) -> AsyncIterator[KeyView]:
        """Keys, newest first, and what each may do."""
        return self._at.listed(operations.KEYS_LIST, query)

    async def revoke(self, key_id: str) -> KeyView:
        """End a key; within seconds it counts no more."""
        key: KeyView = await self._at.json(operations.KEYS_REVOKE, ids={"key_id": key_id})
        return key
