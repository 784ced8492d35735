"""Check a data set in the folder layout of PASCAL VOC without decoding any image."""

import math
import os
from collections.abc import Sequence
from pathlib import Path

from scb_d2.data.reader.voc import VocObject, read_voc_xml, voc_image_ids
from scb_d2.errors import DataError

from .coco_annotations import missing_files
from .images import IMAGE_RULES, check_images
from .report import DatasetReport, Finding, Severity, Tally

__all__ = ["check_voc"]

# Elements that Detectron2's VOC evaluator reads of every object.
_EVALUATOR_TAGS = frozenset({"pose", "truncated", "difficult"})

_RULES: dict[str, tuple[Severity, str]] = {
    "duplicate-image-id": ("error", "names image ids more than once"),
    "path-outside-root": ("error", "names image ids that lead out of its folders"),
    "missing-image": ("error", "names image files that do not exist"),
    **IMAGE_RULES,
    "unreadable-annotation": ("error", "has annotation files that are missing or malformed"),
    "unknown-category": ("error", "has objects of a class that is not among its class names"),
    "malformed-box": ("error", "has boxes that are not finite"),
    "negative-box": ("error", "has boxes of negative width or height"),
    "not-evaluable": (
        "error",
        "has objects without the pose, truncated and difficult elements or whole-numbered box "
        "that Detectron2's VOC evaluation needs",
    ),
    "empty-box": (
        "warning",
        "has boxes of zero width or height, which are dropped from training as Detectron2 does",
    ),
    "box-outside-image": ("warning", "has boxes that leave their image by more than a pixel"),
    "empty-image": ("note", "has images without an annotation"),
    "difficult": ("note", "has difficult objects, which are trained on and not evaluated"),
    "unused-category": ("note", "has classes without an object"),
}


def check_voc(
    name: str,
    dirname: str | Path,
    split: str,
    class_names: Sequence[str],
    *,
    training: bool = True,
    evaluation: bool = True,
    headers: int | None = 0,
) -> DatasetReport:
    """Check a VOC-layout data set; nothing is raised, everything is reported.

    Args:
        name: registered name, for the report.
        dirname: folder with ``Annotations``, ``ImageSets/Main`` and ``JPEGImages``.
        split: name of the image list.
        class_names: class names of the data set.
        training: whether the data set is to be trained on, so must have objects.
        evaluation: whether it is to be evaluated on, so needs what the VOC evaluator reads.
        headers: as in :func:`scb_d2.data.checks.coco_annotations.check_coco`.
    """
    try:
        image_ids = voc_image_ids(dirname, split)
    except DataError as error:
        return DatasetReport(name, findings=[Finding("error", "unreadable-list", str(error))])
    tally = Tally(f"The VOC data set {dirname} (split {split!r})", _RULES)
    seen: set[str] = set()
    used: set[str] = set()
    sizes: dict[str, tuple[int, int]] = {}
    num_objects = 0
    for image_id in image_ids:
        if image_id in seen:
            tally.add("duplicate-image-id", f"image {image_id!r}")
            continue
        seen.add(image_id)
        if os.path.isabs(image_id) or os.pardir in Path(image_id).parts:
            tally.add("path-outside-root", repr(image_id))
            continue
        path = os.path.join(dirname, "Annotations", f"{image_id}.xml")
        try:
            image = read_voc_xml(path)
        except DataError as error:
            tally.add("unreadable-annotation", str(error).rstrip("."))
            continue
        sizes[os.path.join(dirname, "JPEGImages", f"{image_id}.jpg")] = image.width, image.height
        if not image.objects:
            tally.add("empty-image", f"image {image_id!r}")
        num_objects += len(image.objects)
        used.update(obj.name for obj in image.objects)
        for number, obj in enumerate(image.objects, start=1):
            example = f"object {number} of {path}"
            if obj.name not in class_names:
                tally.add("unknown-category", f"{example} of class {obj.name!r}")
            if obj.difficult:
                tally.add("difficult", example)
            if evaluation and not _evaluable(obj):
                tally.add("not-evaluable", example)
            _check_box(obj, (image.width, image.height), example, tally)
    for class_name in class_names:
        if class_name not in used:
            tally.add("unused-category", repr(class_name))
    for path in missing_files(os.path.join(dirname, "JPEGImages", f"{i}.jpg") for i in seen):
        tally.add("missing-image", path)
        sizes.pop(path, None)
    if headers != 0:
        check_images(sizes, tally, headers)
    findings = [f for f in tally.findings() if training or f.code != "empty-box"]
    if training and num_objects == 0:
        message = f"The VOC data set {dirname} (split {split!r}) has no object to train on."
        findings.append(Finding("error", "no-object", message))
    return DatasetReport(name, list(class_names), len(image_ids), num_objects, findings)


def _evaluable(obj: VocObject) -> bool:
    return obj.tags >= _EVALUATOR_TAGS and all(float(v).is_integer() for v in obj.box)


def _check_box(obj: VocObject, size: tuple[int, int], example: str, tally: Tally) -> None:
    example = f"{example} with bndbox {list(obj.box)}"
    xmin, ymin, xmax, ymax = obj.box
    # Corners are inclusive pixel indices.
    width, height = xmax - xmin + 1, ymax - ymin + 1
    if not all(math.isfinite(v) for v in obj.box):
        tally.add("malformed-box", example)
    elif width < 0 or height < 0:
        tally.add("negative-box", example)
    elif width == 0 or height == 0:
        tally.add("empty-box", example)
    elif xmin < 0 or ymin < 0 or xmax > size[0] + 1 or ymax > size[1] + 1:
        tally.add("box-outside-image", example)
