"""Small archives of drawn images, good and bad."""

import io
import tarfile
import zipfile
from collections.abc import Mapping

from PIL import Image

Members = Mapping[str, bytes]


def png(value: int = 200, *, size: int = 16) -> bytes:
    """A grey image with one bright square, different for each value."""
    image = Image.new("L", (size, size), value % 256)
    image.putpixel((value % size, value // size % size), 255 - value % 256)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def class_folders(classes: tuple[str, ...] = ("cat", "dog"), *, images: int = 6) -> Members:
    """One folder per class."""
    return {
        f"{name}/{number}.png": png(40 * index + number)
        for index, name in enumerate(classes)
        for number in range(images)
    }


def zipped(members: Members) -> bytes:
    """The members as a zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: Members, *, mode: str = "w:gz") -> bytes:
    """The members as a tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def multipart(fields: Mapping[str, str], files: Mapping[str, bytes], boundary: str) -> bytes:
    """A form as browsers send it."""
    start = f"--{boundary}\r\nContent-Disposition: form-data; name="
    parts = [f'{start}"{name}"\r\n\r\n{value}\r\n'.encode() for name, value in fields.items()]
    for name, data in files.items():
        head = f'{start}"{name}"; filename="../x.zip"\r\nContent-Type: application/zip\r\n\r\n'
        parts.append(head.encode() + data + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()
