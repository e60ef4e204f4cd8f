"""One image that a stranger sent, as a model sees it: decoded like its dataset's, by a confined
child process."""

import base64
from pathlib import Path

import numpy as np

from core.config import UploadLimits
from core.data import images, packing, sandbox, signatures
from core.data.images import Pixels
from core.errors import AppError, InvalidInput

MEMORY_BYTES = 1024**3
CPU_SECONDS = 20


def read(path: Path, limits: UploadLimits, *, resolution: int, channels: int) -> Pixels:
    """The image in this file, alone in its folder, as `[c, h, w]`.

    Raises InvalidInput (`bad_image`, `image_too_large`).
    """
    with path.open("rb") as file:  # most of what is none costs no child
        if signatures.format_of(file.read(12)) is None:
            raise _unreadable()
    small = limits.model_copy(update={"memory_bytes": MEMORY_BYTES, "cpu_seconds": CPU_SECONDS})
    shape = (channels, resolution, resolution)
    terms = {"image": str(path.absolute()), "resolution": resolution, "channels": channels}
    try:
        answer = sandbox.run("picture", terms, small, folder=path.parent)
        return np.frombuffer(base64.b64decode(answer), np.uint8).reshape(shape)
    except (TypeError, ValueError):
        raise _unreadable() from None
    except AppError as error:
        if error.stable_code in {"archive_too_large", "unreadable_archive"}:  # its child died
            raise _unreadable() from error
        raise


def decoded(data: bytes, *, resolution: int, channels: int, limits: UploadLimits) -> Pixels:
    """The same in this process, which is to be a confined one."""
    try:
        image = images.decode(
            data, max_pixels=limits.image_pixels, resolution=resolution, tiff=limits.tiff
        )
    except images.BadImage as error:
        raise InvalidInput(error.message, code=error.code) from None
    row = images.fit(image.pixels, resolution)
    return packing.channels_first(images.grey(row) if channels == 1 else row, channels)


def _unreadable() -> InvalidInput:
    return InvalidInput("The file is no image, or is damaged.", code="bad_image")
