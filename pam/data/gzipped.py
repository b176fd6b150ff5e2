"""Gzip files decompressed at once, by ISA-L: several times as fast as a read through Python's gzip file."""

from __future__ import annotations

from pathlib import Path

from isal import isal_zlib

from pam.errors import DataError

ISAL_ERROR: type[Exception] = isal_zlib.error  # type: ignore[assignment]  # the stub has it for an instance
GZIP = 31  # zlib's window bits for a gzip header and a checked trailer


def read(path: Path, size: int) -> bytes:
    """The first `size` bytes of the file's content, whatever it claims to hold beyond.

    Raises `DataError`, without the file's name, if there are fewer or the content is damaged. The checksum is
    verified where the content ends at `size`.
    """
    data: bytes = path.read_bytes()
    parts: list[bytes] = []
    missing = size
    while missing and data:  # one turn per member: pigz and bgzip write files of several
        stream = isal_zlib.decompressobj(GZIP)
        try:
            part = stream.decompress(data, missing + 1)  # one byte more than is wanted, so that the trailer is read
        except ISAL_ERROR as error:
            raise DataError(f"damaged after {size - missing} bytes: {error}") from error
        parts.append(part[:missing])
        missing -= len(parts[-1])
        data = stream.unused_data.lstrip(b"\0") if stream.eof else b""  # zeros may pad a tape's last block
    if missing:
        raise DataError(f"{size - missing} of {size} bytes")
    return parts[0] if len(parts) == 1 else b"".join(parts)
