"""Names that the fonts of this machine can write."""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache

from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

__all__ = ["drawable"]


def drawable(text: str, number: int) -> tuple[str, str | None]:
    """A text and a font that has all of its letters, so that none becomes an empty box.

    Args:
        text: a name, in any script.
        number: of the class, which stands for a name that no font can write.

    Returns:
        The text, or it without accents and wide forms, or `class <number>`; and the path of a font,
        None for matplotlib's own.
    """
    if _has_letters(_default_font(), text):
        return text, None
    for path in _font_files():
        if _has_letters(path, text):
            return text, path
    plain = unicodedata.normalize("NFKD", text)
    plain = "".join(c for c in plain if not unicodedata.combining(c))
    if plain.strip() and _has_letters(_default_font(), plain):
        return plain, None
    return f"class {number}", None


def _has_letters(path: str, text: str) -> bool:
    return all(ord(c) in _letters(path) for c in text if not c.isspace())


@lru_cache(maxsize=1)
def _default_font() -> str:
    return font_manager.findfont(font_manager.FontProperties())


@lru_cache(maxsize=1)
def _font_files() -> tuple[str, ...]:
    files = {entry.fname for entry in font_manager.fontManager.ttflist}
    # Fonts of last resort "have" every letter and draw a box for it.
    return tuple(sorted(f for f in files if "lastresort" not in f.lower()))


@cache
def _letters(path: str) -> frozenset[int]:
    try:
        return frozenset(FT2Font(path).get_charmap())
    except (OSError, RuntimeError):
        return frozenset()
