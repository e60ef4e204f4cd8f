"""What every response body is built from."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict

Item = TypeVar("Item")


def finite(value: Any) -> Any:
    """Free-form values with NaN and infinities as null: JSON has no word for them."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [finite(item) for item in value]
    return value


def _shallow(value: Any) -> Any:
    """The same of what a caller says. Raises ValueError where it is nested beyond reading."""
    try:
        return finite(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


FreeForm = Annotated[dict[str, Any], BeforeValidator(_shallow)]


class View(BaseModel):
    """Read from a domain object's attributes."""

    model_config = ConfigDict(from_attributes=True)


class PageView(View, Generic[Item]):
    """One page of a list; `next_page_token` is null on the last."""

    items: list[Item]
    next_page_token: str | None
