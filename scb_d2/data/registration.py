"""Register data sets by name: COCO JSON, VOC layout and the synthetic shapes.

The functions here are what the config keys call (:func:`register_datasets`) and what LazyConfig
users call themselves. Registering reads no file; files are read by
:func:`scb_d2.data.checks.datasets.check_datasets` and by the data loader.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import load_coco_json
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES

from scb_d2.errors import ConfigError, DataError

from .blood_cells import BLOOD_CELLS
from .reader.voc import load_voc
from .synthetic import SHAPE_CLASSES, ensure_shapes, shapes_folder

__all__ = [
    "SHAPES_NAMES",
    "VOC_CLASSES",
    "register_blood_cells",
    "register_coco",
    "register_datasets",
    "register_shapes",
    "register_voc",
]

SHAPES_NAMES = ("shapes_train", "shapes_val")
_MIN_IMAGE_SIZE = 32


def _register(
    name: str, load: Callable[[], list[dict]], source: dict[str, Any], metadata: dict[str, Any]
) -> None:
    """Put a data set into Detectron2's catalogs; ``source`` decides whether two are the same."""
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name).get("scb_source")
        if known == source:
            return
        what = "by Detectron2 or by your own code" if known is None else f"as {_spell(known)}"
        raise DataError(
            f"The data set name {name!r} is already registered {what} and cannot also stand for "
            f"{_spell(source)}: choose another name."
        )
    # A name looked up before it was registered may have left an empty entry.
    MetadataCatalog.pop(name, None)
    DatasetCatalog.register(name, load)
    MetadataCatalog.get(name).set(scb_source=source, **metadata)


def _spell(source: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in source.items())


def register_coco(name: str, json_file: str | Path, image_root: str | Path) -> None:
    """Register a data set in COCO's detection JSON format.

    Args:
        name: the name to use in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        json_file: annotation file; a relative path starts at the current directory, ``~`` is the
            home directory.
        image_root: folder that the ``file_name`` of the images are relative to.

    Raises:
        DataError: if the name is taken by another data set. The same data set again is fine.
    """
    json_file = str(Path(json_file).expanduser())
    image_root = str(Path(image_root).expanduser())
    _register(
        name,
        lambda: load_coco_json(json_file, image_root, name),
        {"FORMAT": "coco", "JSON": json_file, "IMAGES": image_root},
        {"json_file": json_file, "image_root": image_root, "evaluator_type": "coco"},
    )


def register_blood_cells() -> None:
    """Register ``blood_cells_train`` and ``blood_cells_test``, which are part of the package."""
    for name, (json_file, image_root) in BLOOD_CELLS.items():
        register_coco(name, json_file, image_root)


def register_voc(
    name: str,
    dirname: str | Path,
    split: str,
    class_names: Sequence[str] = VOC_CLASSES,
    year: int = 2012,
) -> None:
    """Register a data set in the folder layout of PASCAL VOC.

    Args:
        name: the name to use in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        dirname: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: name of the image list ``ImageSets/Main/<split>.txt``.
        class_names: the classes in the order of the model's outputs; the 20 of VOC by default.
        year: 2007 evaluates AP at 11 recalls, 2012 as the area under the curve; Detectron2's
            evaluator knows no other.

    Raises:
        DataError: if the name is taken by another data set. The same data set again is fine.
    """
    dirname = str(Path(dirname).expanduser())
    classes = list(class_names)
    _register(
        name,
        lambda: load_voc(dirname, split, classes),
        {"FORMAT": "voc", "DIR": dirname, "SPLIT": split, "CLASSES": classes, "YEAR": year},
        {
            "thing_classes": classes,
            "dirname": dirname,
            "split": split,
            "year": year,
            "evaluator_type": "pascal_voc",
        },
    )


def register_shapes(
    root: str | Path = "datasets/shapes",
    image_size: int = 160,
    train_images: int = 600,
    val_images: int = 100,
    seed: int = 0,
) -> None:
    """Register ``shapes_train`` and ``shapes_val``, which are generated when first loaded.

    Registering them again with other arguments replaces them: the names always stand for what
    was asked for last.

    Args:
        root: cache folder; each variant has a folder of its own below it.
        image_size: side of the square images in pixels.
        train_images: number of images of ``shapes_train``.
        val_images: number of images of ``shapes_val``.
        seed: the two splits are drawn from the seeds ``2 * seed`` and ``2 * seed + 1``.
    """
    splits = zip(SHAPES_NAMES, ("train", "val"), (train_images, val_images), strict=True)
    for offset, (name, split, num_images) in enumerate(splits):
        recipe = (num_images, image_size, 2 * seed + offset)
        folder = shapes_folder(root, split, *recipe)
        source = {"FORMAT": "shapes", "FOLDER": str(folder)}
        known = MetadataCatalog.get(name).get("scb_source", source)
        if known["FORMAT"] == "shapes" and known != source:
            DatasetCatalog.remove(name)
        json_file, image_root = str(folder / "annotations.json"), str(folder / "images")
        _register(
            name,
            _shapes_loader(name, folder, recipe),
            source,
            {
                "json_file": json_file,
                "image_root": image_root,
                "evaluator_type": "coco",
                "thing_classes": list(SHAPE_CLASSES),
            },
        )


def _shapes_loader(
    name: str, folder: Path, recipe: tuple[int, int, int]
) -> Callable[[], list[dict]]:
    def load() -> list[dict]:
        made = ensure_shapes(folder, *recipe)
        return load_coco_json(str(made / "annotations.json"), str(made / "images"), name)

    return load


def register_datasets(cfg: CfgNode) -> None:
    """Register the embedded data sets and every data set of ``DATASETS.REGISTER``.

    The embedded ones are ``shapes_train``, ``shapes_val``, ``blood_cells_train`` and
    ``blood_cells_test``.

    May be called any number of times. Reads no data files.

    Raises:
        ConfigError: if an entry or a ``DATASETS.SYNTHETIC`` key is malformed.
        DataError: if a name already stands for another data set.
    """
    _register_synthetic(cfg.DATASETS.SYNTHETIC)
    register_blood_cells()
    entries = cfg.DATASETS.REGISTER
    if not isinstance(entries, (list, tuple)):
        raise ConfigError(
            f"DATASETS.REGISTER must be a list of dicts with a NAME and a FORMAT, not {entries!r}."
        )
    for index, entry in enumerate(entries):
        _register_entry(f"DATASETS.REGISTER[{index}]", entry)


def _register_synthetic(keys: CfgNode) -> None:
    least = {"IMAGE_SIZE": _MIN_IMAGE_SIZE, "TRAIN_IMAGES": 1, "VAL_IMAGES": 1, "SEED": 0}
    for key, minimum in least.items():
        value = keys[key]
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise ConfigError(
                f"DATASETS.SYNTHETIC.{key} must be a whole number of at least {minimum}, "
                f"not {value!r}."
            )
    if not isinstance(keys.ROOT, str) or not keys.ROOT:
        raise ConfigError(
            f"DATASETS.SYNTHETIC.ROOT must be the path of a folder, not {keys.ROOT!r}."
        )
    register_shapes(keys.ROOT, keys.IMAGE_SIZE, keys.TRAIN_IMAGES, keys.VAL_IMAGES, keys.SEED)


_REQUIRED = {"coco": ("JSON", "IMAGES"), "voc": ("DIR", "SPLIT")}
_OPTIONAL = {"coco": (), "voc": ("CLASSES", "YEAR")}


def _register_entry(where: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a dict with a NAME and a FORMAT, not {entry!r}.")
    layout = entry.get("FORMAT")
    if not isinstance(layout, str) or layout not in _REQUIRED:
        raise ConfigError(f"{where}.FORMAT must be one of 'coco' and 'voc', not {layout!r}.")
    required = ("NAME", *_REQUIRED[layout])
    allowed = (*required, "FORMAT", *_OPTIONAL[layout])
    for key in entry:
        if key not in allowed:
            raise ConfigError(
                f"{where} has the unknown key {key!r}; FORMAT {layout!r} allows "
                f"{', '.join(allowed)}."
            )
    for key in required:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}.{key} must be a non-empty string, not {value!r}.")
    if layout == "coco":
        register_coco(entry["NAME"], entry["JSON"], entry["IMAGES"])
        return
    classes = entry.get("CLASSES", VOC_CLASSES)
    if (
        not isinstance(classes, (list, tuple))
        or not classes
        or not all(isinstance(name, str) and name for name in classes)
        or len(set(classes)) != len(classes)
    ):
        raise ConfigError(
            f"{where}.CLASSES must be a list of different class names, not {classes!r}."
        )
    year = entry.get("YEAR", 2012)
    if year not in (2007, 2012) or not isinstance(year, int):
        raise ConfigError(f"{where}.YEAR must be 2007 or 2012, not {year!r}.")
    register_voc(entry["NAME"], entry["DIR"], entry["SPLIT"], classes, year)
