"""API keys of the project, for those whose key has the scope `admin`."""

from collections.abc import Iterator
from typing import Unpack

from headstart import operations
from headstart._sync.connection import Connection
from headstart.schema import KeyOptions, KeysListQuery, KeyView, NewKeyView


class Keys:
    """`client.keys`."""

    def __init__(self, connection: Connection) -> None:
        self._at = connection

    def create(self, name: str, **options: Unpack[KeyOptions]) -> NewKeyView:
        """Make a key; the answer alone ever shows it."""
        made: NewKeyView = self._at.json(operations.KEYS_CREATE, json={**options, "name": name})
        return made

    def list(self, **query: Unpack[KeysListQuery]) -> Iterator[KeyView]:
        """Keys, newest first, and what each may do."""
        return self._at.listed(operations.KEYS_LIST, query)

    def revoke(self, key_id: str) -> KeyView:
        """End a key; within seconds it counts no more."""
        key: KeyView = self._at.json(operations.KEYS_REVOKE, ids={"key_id": key_id})
        return key
