"""Uploads in pieces as the API shows them."""

from datetime import datetime
from uuid import UUID

from api.views.shapes import View


class UploadInPiecesView(View):
    """A file that comes in pieces: `received` of its `length` bytes are stored."""

    id: UUID
    name: str
    length: int
    received: int
    sha256: str | None
    state: str
    created_at: datetime
    expires_at: datetime


class PresignedView(View):
    """A form for one file: `fields` are sent before it, unchanged."""

    upload_id: UUID
    url: str
    fields: dict[str, str]
    expires_at: datetime
