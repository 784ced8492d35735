"""136 photographs of blood cells, part of the package: a data set to try things on.

From BCCD_Dataset (github.com/Shenggan/BCCD_Dataset, MIT licence, see ``LICENSE`` beside this file),
made by :mod:`.make`: 100 to train on and 36 of its test part, 320 x 240 pixels, with red cells,
white cells and platelets. Some cells are not annotated.
"""

from pathlib import Path

__all__ = ["BLOOD_CELLS"]

_FOLDER = Path(__file__).parent

BLOOD_CELLS = {
    f"blood_cells_{part}": (str(_FOLDER / f"{part}.json"), str(_FOLDER / "images"))
    for part in ("train", "test")
}
"""Name -> annotation file in COCO's format and folder of the photographs."""
