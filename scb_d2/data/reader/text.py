"""Text files of annotations, whatever Unicode encoding they are in."""

from __future__ import annotations

import codecs
from pathlib import Path

__all__ = ["read_text", "unicode_mark"]

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def unicode_mark(content: bytes) -> str | None:
    """The encoding that a byte order mark tells; None where there is no mark."""
    return next((name for mark, name in _MARKS.items() if content.startswith(mark)), None)


def read_text(path: str | Path) -> str:
    """The text of a file in UTF-8, or in the encoding that its byte order mark tells.

    Raises:
        OSError: if it cannot be read.
        UnicodeDecodeError: if it is in another encoding.
    """
    content = Path(path).read_bytes()
    return content.decode(unicode_mark(content) or "utf-8")
