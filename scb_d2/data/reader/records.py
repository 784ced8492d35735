"""The canonical form of a data set, which everything else of the package sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scb_d2.errors import DataError

from .tally import Rules, Tally

__all__ = ["READING_RULES", "Records"]

READING_RULES: Rules = {
    "incomplete-image": (
        "error",
        "has images without an id (whole number or text), a file_name, or a width and height > 0 "
        "that the image file does not tell either",
    ),
    "duplicate-image-id": ("error", "has image ids that are used more than once"),
    "unreadable-image-size": (
        "error",
        "gives no image size, and the headers of these image files cannot be read",
    ),
    "incomplete-category": (
        "error",
        "has categories without an id (whole number or text) or a name",
    ),
    "duplicate-category-id": ("error", "has category ids that are used more than once"),
    "unreadable-annotation": ("error", "has annotation files that are missing or malformed"),
    "incomplete-annotation": (
        "error",
        "has annotations without an image_id, a category_id or a bbox",
    ),
    "duplicate-annotation-id": ("error", "has annotation ids that are used more than once"),
    "unknown-image": ("error", "has annotations of an image_id that is not among its images"),
    "unknown-category": (
        "error",
        "has annotations of a category_id that is not among its categories",
    ),
    "unknown-class": ("error", "has objects of a class that is not among its class names"),
    "malformed-box": ("error", "has boxes that are not four finite numbers [x, y, width, height]"),
    "unknown-box-mode": (
        "error",
        "has boxes whose bbox_mode is none of BoxMode.XYXY_ABS, XYWH_ABS and XYWHA_ABS",
    ),
    "negative-box": ("error", "has boxes of negative width or height"),
    "malformed-crowd": ("error", "has values of 'iscrowd' that are neither 0 nor 1"),
    "malformed-keypoints": (
        "error",
        "has keypoints that are not triples of x, y and visibility, as many as the others",
    ),
    "ignore-flag": (
        "error",
        "has annotations with the flag 'ignore', which Detectron2 does not know",
    ),
    "turned-box": (
        "warning",
        "has boxes that 'attributes.rotation' turns, which is not applied: they are taken upright",
    ),
    "byte-order-mark": ("note", "starts with a byte order mark, which is skipped"),
    "backslash": ("note", "has file names with backslashes, which are taken for slashes"),
    "escaped-name": (
        "note",
        "has file names in which %20 stands for a space, or the like, which are taken for that",
    ),
    "other-id": ("note", "spells ids otherwise where it refers to them (1.0 or '1' for 1)"),
    "number-name": ("note", "names categories by numbers, which are taken for text"),
    "text-number": ("note", "has numbers that are written as text"),
    "other-flag": ("note", "has flags that are not 0 or 1: null, empty and false are 0"),
    "no-annotation-id": ("note", "has annotations without an id of their own"),
    "computed-area": (
        "note",
        "has annotations without an area > 0, which is taken from the mask or the box",
    ),
    "size-from-image": ("note", "gives no image size, which is taken from the image files"),
    "unusable-mask": (
        "note",
        "has segmentations that are no masks (empty, or polygons of fewer than three points), "
        "which are set aside",
    ),
}
"""What reading meets. Errors leave the entry out; with notes the meaning is plain."""


@dataclass(frozen=True)
class Records:
    """A data set in canonical form, whatever its files look like.

    ``images`` are in Detectron2's format, in the order of COCO's evaluation (ascending ids): each
    a dict with ``file_name``, ``image_id``, ``height``, ``width`` (native pixels) and
    ``annotations``. An annotation is a dict with

    - ``id``: as the file has it; numbered from 1 where it has none,
    - ``category_id``: int, index into ``class_names``,
    - ``bbox`` with ``bbox_mode`` XYWH_ABS: four finite numbers, native pixels (rotated boxes of
      data sets registered in Python keep their five),
    - ``iscrowd``: 0 or 1; ``difficult``, likewise, where the file has such flags,
    - ``area``: finite, square native pixels,
    - ``segmentation``: polygons of three points and more, or compressed RLE, where it has a mask,
    - ``keypoints``: x, y, visibility of each, plus half a pixel, where the data set has any.

    Attributes:
        subject: start of sentences about the data set.
        class_names: K names, in the order of the model's outputs.
        category_ids: K ids, as the file has them.
        images: N records.
        tally: what was met while reading, by :data:`READING_RULES`.
        image_root: folder that no image may lie outside of, None where there is no such folder.
        has_annotations: False for a file that only lists images, as of COCO's test sets.
        keypoint_names: names that the file gives the keypoints.
    """

    subject: str
    class_names: list[str]
    category_ids: list[int | str]
    images: list[dict[str, Any]]
    tally: Tally
    image_root: str | None = None
    has_annotations: bool = True
    keypoint_names: tuple[str, ...] = ()

    @property
    def num_annotations(self) -> int:
        return sum(len(image.get("annotations", ())) for image in self.images)

    def refuse_faults(self) -> Records:
        """These records, if reading met no error.

        Raises:
            DataError: with the first error's sentence.
        """
        for finding in self.tally.findings():
            if finding.severity == "error":
                raise DataError(finding.message)
        return self
