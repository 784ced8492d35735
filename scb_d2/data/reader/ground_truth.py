"""A registered data set as COCO annotations, with everything that decides what counts."""

from __future__ import annotations

from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from scb_d2.errors import DataError

from .coco import GroundTruth, load_ground_truth, read_json
from .voc import load_voc_difficult

__all__ = ["annotations_of", "category_id_of", "ground_truth_of"]


def annotations_of(dataset_name: str) -> dict[str, Any]:
    """COCO annotations of a registered data set.

    A data set with a COCO file gives that file, with its areas and crowds. Of one in the layout of
    PASCAL VOC (metadata `dirname` and `split`) the `difficult` flags are read from the XML, which
    Detectron2's loader leaves out. The area of others is the box's.

    Raises:
        DataError: the annotations cannot be read.
    """
    meta = MetadataCatalog.get(dataset_name)
    if hasattr(meta, "json_file") and not hasattr(meta, "dirname"):
        data = read_json(meta.json_file)
        if "annotations" not in data:
            raise DataError(f"{meta.json_file}: has no annotations, so recall cannot be measured.")
        return data
    records = DatasetCatalog.get(dataset_name)
    difficult = load_voc_difficult(meta.dirname, meta.split) if hasattr(meta, "dirname") else {}
    annotations = []
    for record in records:
        flags = difficult.get(record["image_id"], [])
        for number, annotation in enumerate(record.get("annotations", [])):
            box = BoxMode.convert(
                annotation["bbox"], BoxMode(annotation["bbox_mode"]), BoxMode.XYWH_ABS
            )
            flag = flags[number] if flags else annotation.get("difficult", 0)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": record["image_id"],
                    "category_id": annotation["category_id"],
                    "bbox": [float(value) for value in box],
                    "area": float(annotation.get("area", box[2] * box[3])),
                    "iscrowd": int(annotation.get("iscrowd", 0)),
                    "difficult": int(flag),
                }
            )
    images = [
        {"id": record["image_id"], "file_name": record["file_name"]}
        | {key: record[key] for key in ("width", "height") if key in record}
        for record in records
    ]
    categories = [{"id": n, "name": name} for n, name in enumerate(meta.thing_classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


def category_id_of(dataset_name: str) -> dict[int, int]:
    """Category id in the annotations by the model's class index."""
    meta = MetadataCatalog.get(dataset_name)
    if hasattr(meta, "thing_dataset_id_to_contiguous_id"):
        return {n: key for key, n in meta.thing_dataset_id_to_contiguous_id.items()}
    return {n: n for n in range(len(meta.thing_classes))}


def ground_truth_of(dataset_name: str) -> GroundTruth:
    """Objects of a registered data set; see :func:`annotations_of`."""
    return load_ground_truth(annotations_of(dataset_name), dataset_name)
