"""Secrets at rest: sealed with the operator's key, so that a copy of the database opens none."""

import hashlib
from base64 import urlsafe_b64encode

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from pydantic import SecretStr

PURPOSE = b"headstart:sealed:"  # a key that is used for anything else as well stays apart


class Unsealable(Exception):
    """Sealed with another key, or not by us."""


class Seal:
    """Seals with the first of the keys, which commas divide; opens what any of them has sealed."""

    def __init__(self, keys: SecretStr) -> None:
        self._box = MultiFernet([Fernet(_derived(each)) for each in _parted(keys)])

    def close(self, secret: bytes) -> str:
        """The secret as it may be stored."""
        return self._box.encrypt(secret).decode()

    def open(self, sealed: str) -> bytes:
        """The secret. Raises Unsealable."""
        try:
            return self._box.decrypt(sealed)
        except InvalidToken:
            raise Unsealable from None


def _parted(keys: SecretStr) -> list[str]:
    """The keys one by one."""
    return [each.strip() for each in keys.get_secret_value().split(",")]


def _derived(key: str) -> bytes:
    # A plain hash: the keys are random and long, `Settings` sees to the length.
    return urlsafe_b64encode(hashlib.sha256(PURPOSE + key.encode()).digest())
