"""Class names in any script: written by a font that has them, or otherwise, never as boxes."""

import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from scb_d2.visualization.glyphs import drawable


@pytest.mark.parametrize(
    "name",
    ["cat", "Hündin", "лошадь", "γάτα", "红细胞", "赤血球", "적혈구", "قطة", "Ａｂｃ", "a 红"],
)
def test_every_letter_is_in_the_font(name: str) -> None:
    text, path = drawable(name, 3)
    assert text.strip()
    default = font_manager.findfont(font_manager.FontProperties())
    letters = FT2Font(path or default).get_charmap()
    assert all(ord(c) in letters for c in text if not c.isspace())
    assert "lastresort" not in (path or "").lower()


def test_names_are_kept_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawable("Hündin", 3) == ("Hündin", None)
    monkeypatch.setattr("scb_d2.visualization.glyphs._font_files", tuple)
    assert drawable("Ａｂｃ", 3) == ("Abc", None)
    assert drawable("\u4e00\u4e01", 3) == ("class 3", None)
