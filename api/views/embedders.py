"""Embedders as the API shows them."""

from uuid import UUID

from api.views.shapes import View


class EmbedderView(View):
    """One embedder; `identifier` is null when its weights are not on this machine."""

    identifier: str | None
    name: str
    version: str | None
    summary: str
    default: bool
    supernet_id: UUID | None
