"""Config keys for data sets: the user's own, registered without Python, and the shapes."""

from typing import Any

from detectron2.config import CfgNode

from scb_d2.errors import ConfigError

from .registration import VOC_CLASSES, register_coco, register_shapes, register_voc

__all__ = ["add_data_config", "register_datasets"]

_MIN_IMAGE_SIZE = 32


def add_data_config(cfg: CfgNode) -> None:
    """Add the data keys of this package to a Detectron2 config, in place."""
    # Data sets to register, each a dict:
    #   {NAME: my_train, FORMAT: coco, JSON: path/to/train.json, IMAGES: path/to/images}
    #   {NAME: my_val, FORMAT: voc, DIR: path/to/VOCfolder, SPLIT: val,
    #    CLASSES: [cat, dog], YEAR: 2012}
    # By default CLASSES is VOC's 20 and YEAR 2012; 2007 asks for the 11-point AP of that year.
    # Relative paths start at the current directory, as Detectron2's own do.
    cfg.DATASETS.REGISTER = []

    # The class that makes network input of a record of a data set.
    cfg.INPUT.MAPPER = "CheckedDatasetMapper"

    # The embedded data sets shapes_train and shapes_val, generated on first use.
    cfg.DATASETS.SYNTHETIC = CfgNode()
    cfg.DATASETS.SYNTHETIC.ROOT = "datasets/shapes"
    cfg.DATASETS.SYNTHETIC.IMAGE_SIZE = 160
    cfg.DATASETS.SYNTHETIC.TRAIN_IMAGES = 600
    cfg.DATASETS.SYNTHETIC.VAL_IMAGES = 100
    # shapes_train is drawn from seed 2 * SEED, shapes_val from 2 * SEED + 1.
    cfg.DATASETS.SYNTHETIC.SEED = 0


def register_datasets(cfg: CfgNode) -> None:
    """Register ``shapes_train``, ``shapes_val`` and every data set of ``DATASETS.REGISTER``.

    May be called any number of times. Reads no data files.

    Raises:
        ConfigError: if an entry or a ``DATASETS.SYNTHETIC`` key is malformed.
        DataError: if a name already stands for another data set.
    """
    _register_synthetic(cfg.DATASETS.SYNTHETIC)
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
