"""Hostile archives, by row of the attack table: what each is refused for."""

import gzip
import io
import stat
import tarfile
import zipfile

from tests.unit.data.builders import (
    Entry,
    dataset,
    encode,
    entries_of,
    lying,
    noise,
    pax_headers,
    quoted_overlap_zip,
    raw_zip,
    tar_bytes,
    tar_member,
    zip_bytes,
)

HONEST = dataset()
IMAGE = encode(noise(7))


def with_name(name: str | bytes) -> bytes:
    raw = name if isinstance(name, bytes) else name.encode()
    return raw_zip([*entries_of(HONEST), Entry(raw, IMAGE, flags=0x800)])


def in_tar(name: str) -> bytes:
    return tar_bytes({**HONEST, name: IMAGE})


def with_entry(**fields: object) -> bytes:
    return raw_zip([*entries_of(HONEST), lying(Entry(b"cat/x.png", IMAGE), **fields)])


def with_member(name: str, kind: bytes, target: str = "", **fields: object) -> bytes:
    return tar_bytes(HONEST, members=[tar_member(name, kind, target, **fields)])


def patched_tar(start: int, field: bytes) -> bytes:
    """A tar whose first header has one field replaced and a correct checksum."""
    data = bytearray(tar_bytes(HONEST))
    data[start : start + len(field)] = field
    total = sum(data[:148]) + 8 * 32 + sum(data[156:512])
    data[148:156] = f"{total:06o}\0 ".encode()
    return bytes(data)


def pax_tar(**headers: str) -> bytes:
    info = tarfile.TarInfo("cat/x.png")
    info.size, info.pax_headers = len(IMAGE), headers
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as file:
        file.addfile(info, io.BytesIO(IMAGE))
    return buffer.getvalue()


def aes_zip() -> bytes:
    return with_entry(flags=0x1)


REFUSED = {
    # 1-3: names that leave the folder
    "1 climbs": (with_name("../../etc/x.png"), "unsafe_path"),
    "1 climbs inside": (with_name("cat/../../x.png"), "unsafe_path"),
    "1 tar climbs": (in_tar("../../etc/x.png"), "unsafe_path"),
    "1 climbing folder": (raw_zip([Entry(b"../x/", method=0)]), "unsafe_path"),
    "2 absolute": (with_name("/etc/x.png"), "unsafe_path"),
    "2 drive": (with_name("C:x.png"), "unsafe_path"),
    "2 share": (with_name("\\\\srv\\x.png"), "unsafe_path"),
    "2 tar absolute": (in_tar("/etc/x.png"), "unsafe_path"),
    "3 backslash": (with_name("..\\..\\x.png"), "unsafe_path"),
    "3 tar backslash": (in_tar("cat\\x.png"), "unsafe_path"),
    # 4-6: members that are not plain files
    "4 symlink": (with_entry(mode=stat.S_IFLNK | 0o777, data=b"/etc"), "unsafe_member"),
    "4 zip fifo": (with_entry(mode=stat.S_IFIFO | 0o644), "unsafe_member"),
    "5 tar symlink": (with_member("cat/x", tarfile.SYMTYPE, "/etc"), "unsafe_member"),
    "5 tar hard link": (with_member("cat/x", tarfile.LNKTYPE, "../x"), "unsafe_member"),
    "5 tar long link": (with_member("cat/x", tarfile.SYMTYPE, "a/" * 600), "unsafe_member"),
    "6 device": (with_member("cat/x", tarfile.CHRTYPE), "unsafe_member"),
    "6 block device": (with_member("cat/x", tarfile.BLKTYPE), "unsafe_member"),
    "6 fifo": (with_member("cat/x", tarfile.FIFOTYPE), "unsafe_member"),
    "6 sparse": (with_member("cat/x", tarfile.GNUTYPE_SPARSE), "unsafe_member"),
    "6 pax sparse": (pax_tar(**{"GNU.sparse.major": "1"}), "unsafe_member"),
    "6 setuid": (with_member("cat/x.png", tarfile.REGTYPE, mode=0o4755), "unsafe_member"),
    "6 zip setuid": (with_entry(mode=0o104755), "unsafe_member"),
    # 7-11: bombs
    "7 declared 3 GiB": (with_entry(packed=b"x" * 9, size=3 * 2**30), "archive_too_large"),
    "8 quoted overlap": (quoted_overlap_zip(60, 20_000), "archive_overlap"),
    "8 same record twice": (
        raw_zip([*entries_of(HONEST), Entry(b"cat/0.png", HONEST["cat/0.png"], offset=0)]),
        "archive_overlap",
    ),
    "10 nested": (with_name("cat/inner.zip"), "nested_archive"),
    "10 tar nested": (in_tar("cat/inner.TAR.gz"), "nested_archive"),
    "11 inflates more": (with_entry(data=bytes(10**6), size=1024, crc=0), "size_mismatch"),
    "11 headers differ": (with_entry(local_size=5), "size_mismatch"),
    "11 stored differs": (with_entry(method=0, size=len(IMAGE) + 9), "size_mismatch"),
    # 12-14: broken and unsupported
    "12 two names": (with_entry(local_name=b"dog/x.png"), "corrupt_archive"),
    "13 truncated": (zip_bytes(HONEST)[:-30], "corrupt_archive"),
    "13 crc": (with_entry(crc=123), "corrupt_archive"),
    "13 trailing": (zip_bytes(HONEST) + b"more", "corrupt_archive"),
    "13 leading": (b"PK\3\4 and so on" + zip_bytes(HONEST), "corrupt_archive"),
    "13 half a tar": (tar_bytes(HONEST)[:4000], "corrupt_archive"),
    "13 tar trailing": (tar_bytes(HONEST) + b"more", "corrupt_archive"),
    "13 half a gzip": (tar_bytes(HONEST, "w:gz")[:-100], "corrupt_archive"),
    "13 tar checksum": (tar_bytes(HONEST).replace(b"cat/1.png", b"cat/!.png"), "corrupt_archive"),
    "13 bad deflate": (with_entry(packed=b"\xff" * 50), "corrupt_archive"),
    "14 encrypted": (aes_zip(), "unsupported_archive"),
    "14 lzma": (zip_bytes(HONEST, zipfile.ZIP_LZMA), "unsupported_archive"),
    "14 bzip2": (zip_bytes(HONEST, zipfile.ZIP_BZIP2), "unsupported_archive"),
    "14 tar.bz2": (tar_bytes(HONEST, "w:bz2"), "unsupported_archive"),
    "14 tar.xz": (tar_bytes(HONEST, "w:xz"), "unsupported_archive"),
    "14 text": (b"I am not an archive.\n" * 99, "unsupported_archive"),
    "14 nothing": (b"", "unsupported_archive"),
    # 15-16: names
    "15 twice": (raw_zip([*entries_of(HONEST), Entry(b"cat/0.png", IMAGE)]), "duplicate_name"),
    "15 case": (with_name("cat/0.PNG"), "duplicate_name"),
    "15 folder case": (with_name("CAT/x.png"), "duplicate_name"),
    "15 nfc": (zip_bytes({"cat/e\u0301.png": IMAGE, "cat/\u00e9.png": b"x"}), "duplicate_name"),
    "15 file and folder": (with_name("cat"), "duplicate_name"),
    "16 nul": (with_name("cat/a\0.png"), "bad_name"),
    "16 newline": (with_name("cat/a\n.png"), "bad_name"),
    "16 escape": (with_name("cat/\x1b[2J.png"), "bad_name"),
    "16 rtl": (with_name("cat/\u202egnp.png"), "bad_name"),
    "16 5000 bytes": (with_name("cat/" + "a" * 5000 + ".png"), "bad_name"),
    "16 tar 5000 bytes": (in_tar("cat/" + "a" * 5000 + ".png"), "bad_name"),
    "16 not utf-8": (with_name(b"cat/\xff\xfe.png"), "bad_name"),
    "16 tar not utf-8": (in_tar("cat/\udcff.png"), "bad_name"),
    "16 con": (with_name("cat/CON.png"), "bad_name"),
    "16 dot": (with_name("cat./x.png"), "bad_name"),
    "16 deep": (with_name("a/" * 20 + "x.png"), "bad_name"),
    # 17: nothing to learn from
    "17 empty zip": (zip_bytes({}), "empty_dataset"),
    "17 empty tar": (tar_bytes({}), "empty_dataset"),
    "17 only folders": (zip_bytes({"cat/": b"", "dog/": b""}), "empty_dataset"),
    "17 only junk": (zip_bytes({"__MACOSX/cat/1.png": b"x", "cat/._1": b"x"}), "empty_dataset"),
    "17 no class folder": (zip_bytes({"1.png": IMAGE, "2.png": IMAGE}), "empty_dataset"),
    "17 one class": (zip_bytes(dataset(classes=["cat"])), "too_few_classes"),
    # 18: gzip and tar numbers
    "18 zeros": (gzip.compress(bytes(64 * 2**20)), "archive_too_large"),
    "18 two gzip members": (tar_bytes(HONEST, "w:gz") * 2, "corrupt_archive"),
    "18 negative size": (patched_tar(124, b"\xff" * 12), "corrupt_archive"),
    "18 minus sign": (patched_tar(124, b"-0000000007\0"), "corrupt_archive"),
    "18 huge size": (patched_tar(124, b"\x80" + b"\x7f" * 11), "archive_too_large"),
    "18 past the end": (patched_tar(124, b"00010000000\0"), "corrupt_archive"),
    "18 text after gzip": (tar_bytes(HONEST, "w:gz") + b"more", "corrupt_archive"),
    "18 pax for all": (pax_headers(b"g", b"18 path=cat/y.png\n"), "corrupt_archive"),
    "18 pax malformed": (pax_headers(b"x", b"9 path=cat/y.png\n"), "corrupt_archive"),
    "18 pax huge size": (pax_tar(size="9" * 20), "archive_too_large"),
}  # fmt: skip
