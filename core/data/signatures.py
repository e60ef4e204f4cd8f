"""What kind of image a file is, by its first bytes; no decoder is loaded for that."""

PNG = b"\x89PNG\r\n\x1a\n"
TIFF = "TIFF"  # read only where the operator wants it
_SIGNATURES = (
    (PNG, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", TIFF),
    (b"MM\0*", TIFF),
)
SUFFIX_OF = {
    "PNG": "png",
    "JPEG": "jpg",
    "GIF": "gif",
    "BMP": "bmp",
    "WEBP": "webp",
    TIFF: "tif",
}


def format_of(head: bytes) -> str | None:
    """The known format whose signature the bytes begin with (12 are enough)."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    return next((name for magic, name in _SIGNATURES if head.startswith(magic)), None)
