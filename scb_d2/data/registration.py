"""Register data sets by name: COCO JSON, VOC and YOLO layouts, the embedded ones.

The functions here are what the config keys call (:func:`register_datasets`) and what LazyConfig
users call themselves. Registering reads no file; files are read by
:func:`scb_d2.data.checks.datasets.check_datasets` and by the data loader.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.pascal_voc import CLASS_NAMES as VOC_CLASSES

from scb_d2.errors import ConfigError, DataError

from .blood_cells import BLOOD_CELLS
from .entries import checked_entry
from .reader.catalog import CanonicalLoader, load_through_reader, read_dataset
from .reader.coco import read_coco
from .reader.records import Records
from .reader.voc import read_voc
from .reader.yolo import read_yolo
from .synthetic import SHAPE_CLASSES, ensure_shapes, shapes_folder

__all__ = [
    "SHAPES_NAMES",
    "VOC_CLASSES",
    "count_images_of_classes",
    "register_blood_cells",
    "register_coco",
    "register_datasets",
    "register_shapes",
    "register_voc",
    "register_yolo",
]

SHAPES_NAMES = ("shapes_train", "shapes_val")
_MIN_IMAGE_SIZE = 32


def _register(
    name: str, read: Callable[[], Records], source: dict[str, Any], metadata: dict[str, Any]
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
    DatasetCatalog.register(name, CanonicalLoader(name, read))
    MetadataCatalog.get(name).set(scb_source=source, **metadata)


def _spell(source: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value!r}" for key, value in source.items())


def register_coco(
    name: str,
    json_file: str | Path,
    image_root: str | Path,
    keypoint_names: Sequence[str] = (),
    keypoint_flip_map: Sequence[tuple[str, str]] = (),
) -> None:
    """Register a data set in COCO's detection JSON format.

    Args:
        name: the name to use in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        json_file: annotation file; a relative path starts at the current directory, ``~`` is the
            home directory.
        image_root: folder that the ``file_name`` of the images are relative to.
        keypoint_names: needed to train keypoints, in the order of the file's.
        keypoint_flip_map: pairs of names that change places when an image is mirrored.

    Raises:
        DataError: if the name is taken by another data set. The same data set again is fine.
    """
    json_file = str(Path(json_file).expanduser())
    image_root = str(Path(image_root).expanduser())
    source = {"FORMAT": "coco", "JSON": json_file, "IMAGES": image_root}
    metadata = {"json_file": json_file, "image_root": image_root, "evaluator_type": "coco"}
    if keypoint_names:
        pairs = [tuple(pair) for pair in keypoint_flip_map]
        source |= {"KEYPOINTS": list(keypoint_names), "FLIP_PAIRS": pairs}
        metadata |= {"keypoint_names": list(keypoint_names), "keypoint_flip_map": pairs}
    _register(name, lambda: read_coco(json_file, image_root), source, metadata)


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
        year: 2007 evaluates AP at 11 recalls, 2012 as the area under the curve.

    Raises:
        DataError: if the name is taken by another data set. The same data set again is fine.
    """
    dirname = str(Path(dirname).expanduser())
    classes = list(class_names)
    _register(
        name,
        lambda: read_voc(dirname, split, classes),
        {"FORMAT": "voc", "DIR": dirname, "SPLIT": split, "CLASSES": classes, "YEAR": year},
        {
            "thing_classes": classes,
            "dirname": dirname,
            "split": split,
            "year": year,
            "evaluator_type": "pascal_voc",
        },
    )


def register_yolo(name: str, data: str | Path, split: str) -> None:
    """Register a data set in the layout of YOLO.

    Its classes are the names in ``data.yaml``; it is evaluated by COCO's AP.

    Args:
        name: the name to use in ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        data: ``data.yaml``, or the folder it lies in.
        split: which of its lists of images: train, val or test.

    Raises:
        DataError: if the name is taken by another data set. The same data set again is fine.
    """
    data = str(Path(data).expanduser())
    _register(
        name,
        lambda: read_yolo(data, split),
        {"FORMAT": "yolo", "DATA": data, "SPLIT": split},
        {"evaluator_type": "coco"},
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
            _shapes_reader(folder, recipe),
            source,
            {
                "json_file": json_file,
                "image_root": image_root,
                "evaluator_type": "coco",
                "thing_classes": list(SHAPE_CLASSES),
            },
        )


def _shapes_reader(folder: Path, recipe: tuple[int, int, int]) -> Callable[[], Records]:
    def read() -> Records:
        made = ensure_shapes(folder, *recipe)
        return read_coco(made / "annotations.json", made / "images")

    return read


def register_datasets(cfg: CfgNode) -> None:
    """Register the embedded data sets and every data set of ``DATASETS.REGISTER``.

    The embedded ones are ``shapes_train``, ``shapes_val``, ``blood_cells_train`` and
    ``blood_cells_test``.

    From then on the data sets of ``DATASETS.TRAIN`` and ``DATASETS.TEST`` are read by this
    package, whoever registered them. May be called any number of times. Reads no data files, but
    for ``MODEL.ROI_BOX_HEAD.USE_FED_LOSS``, whose weights are numbers of images.

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
    load_through_reader([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST])
    if cfg.MODEL.ROI_BOX_HEAD.USE_FED_LOSS:
        count_images_of_classes(cfg.DATASETS.TRAIN)


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


def _register_entry(where: str, entry: Any) -> None:
    entry = checked_entry(where, entry)
    name = entry["NAME"]
    if entry["FORMAT"] == "coco":
        points = entry.get("KEYPOINTS", ()), entry.get("FLIP_PAIRS", ())
        register_coco(name, entry["JSON"], entry["IMAGES"], *points)
    elif entry["FORMAT"] == "voc":
        classes, year = entry.get("CLASSES", VOC_CLASSES), entry.get("YEAR", 2012)
        register_voc(name, entry["DIR"], entry["SPLIT"], classes, year)
    else:
        register_yolo(name, entry["DATA"], entry["SPLIT"])


def count_images_of_classes(names: Sequence[str]) -> None:
    """Give own data sets the numbers from which the federated loss takes its weights.

    Args:
        names: registered names; only those that this package registered are read.
    """
    for name in names:
        meta = MetadataCatalog.get(name)
        if meta.get("scb_source") is None or meta.get("class_image_count") is not None:
            continue
        try:
            records = read_dataset(name)
        except DataError:
            continue  # said when the data sets are checked; a prediction needs no data
        counts = [0] * len(records.class_names)
        for image in records.images:
            for category in {a["category_id"] for a in image["annotations"]}:
                counts[category] += 1
        meta.class_image_count = [{"id": n, "image_count": k} for n, k in enumerate(counts)]
