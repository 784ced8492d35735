"""Single annotations of COCO JSON, brought into canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.structures import BoxMode

from .segmentations import mask_area, shifted_keypoints, usable_segmentation
from .tally import Tally
from .values import Ids, box_of, entry_id, flag, is_number, number

__all__ = ["AnnotationReader"]


class AnnotationReader:
    """Appends canonical annotations to the records of their images."""

    def __init__(
        self,
        images: list[dict[str, Any]],
        names: Mapping[int | str, str],
        tally: Tally,
        unique_ids: bool,
    ) -> None:
        self.images = images
        self.image_ids = Ids(image["image_id"] for image in images)
        self.category_ids = Ids(names)
        self.tally = tally
        self.unique_ids = unique_ids
        self.seen: set[int | str] = set()
        self.with_keypoints: list[dict[str, Any]] = []

    def add(self, annotation: dict[str, Any], count: int) -> None:
        """Read one annotation, the ``count``-th of the file."""
        add = self.tally.add
        key = entry_id(annotation.get("id"))
        example = f"annotation {annotation.get('id')!r}"
        box = annotation.get("bbox")
        if box is None or "image_id" not in annotation or "category_id" not in annotation:
            add("incomplete-annotation", example)
            return
        if key is None:
            key = count
            add("no-annotation-id", f"number {count}")
        elif key in self.seen and self.unique_ids:
            add("duplicate-annotation-id", example)
        self.seen.add(key)
        image = self._referred(self.image_ids, annotation, "image", example)
        category = self._referred(self.category_ids, annotation, "category", example)
        if annotation.get("ignore"):
            add("ignore-flag", example)
        attributes = annotation.get("attributes")
        rotation = attributes.get("rotation") if isinstance(attributes, dict) else None
        if number(rotation):
            add("turned-box", f"{example} by {rotation}")
        crowd = self._crowd(annotation, example)
        box = self._box(box, example)
        if image is None or category is None or box is None:
            return
        canonical = {"id": key, "iscrowd": crowd, "bbox": box, "category_id": category}
        canonical["bbox_mode"] = BoxMode.XYWH_ABS
        self._add_shape(canonical, annotation, example)
        if "difficult" in annotation:
            canonical["difficult"] = flag(annotation["difficult"]) or 0
        self.images[image]["annotations"].append(canonical)

    def _referred(self, ids: Ids, annotation: dict, kind: str, example: str) -> int | None:
        value = annotation[f"{kind}_id"]
        ids.respelt = False
        found = ids.find(value)
        if found is None:
            self.tally.add(f"unknown-{kind}", f"{example} with {kind}_id {value!r}")
        elif ids.respelt:
            self.tally.add("other-id", f"{example} with {kind}_id {value!r}")
        return found

    def _crowd(self, annotation: dict, example: str) -> int:
        value = annotation.get("iscrowd", 0)
        if type(value) is int and 0 <= value <= 1:
            return value
        meant = flag(value)
        if meant is None:
            self.tally.add("malformed-crowd", f"{example} with iscrowd {value!r}")
            return 0
        self.tally.add("other-flag", f"{example} with iscrowd {value!r}")
        return meant

    def _box(self, value: Any, example: str) -> list[int | float] | None:
        if isinstance(value, list) and len(value) == 4 and all(map(is_number, value)):
            box = value
        else:
            box = box_of(value)
            if box is None:
                self.tally.add("malformed-box", f"{example} with bbox {value!r}")
                return None
            self.tally.add("text-number", f"{example} with bbox {value!r}")
        if box[2] < 0 or box[3] < 0:
            self.tally.add("negative-box", f"{example} with bbox {value!r}")
            return None
        return box

    def _add_shape(self, canonical: dict, annotation: dict, example: str) -> None:
        """Add mask, area and keypoints."""
        mask = None
        if "segmentation" in annotation:
            mask = usable_segmentation(annotation["segmentation"])
            if mask is None:
                self.tally.add("unusable-mask", example)
            else:
                canonical["segmentation"] = mask
        area = annotation.get("area")
        if not is_number(area):
            area = number(area)
            if area is not None:
                self.tally.add("text-number", f"{example} with area {annotation['area']!r}")
        box = canonical["bbox"]
        if not area or area < 0:
            area = box[2] * box[3] if mask is None else mask_area(mask)
            if area or "area" not in annotation:
                self.tally.add("computed-area", example)
        canonical["area"] = area
        if annotation.get("keypoints"):
            keypoints = shifted_keypoints(annotation["keypoints"])
            if keypoints is None:
                self.tally.add("malformed-keypoints", example)
            else:
                canonical["keypoints"] = keypoints
                self.with_keypoints.append(canonical)

    def complete_keypoints(self) -> None:
        """Give objects without keypoints as many invisible ones as the others have."""
        if not self.with_keypoints:
            return
        length = len(self.with_keypoints[0]["keypoints"])
        for other in self.with_keypoints:
            if len(other["keypoints"]) != length:
                self.tally.add("malformed-keypoints", f"annotation {other['id']!r}")
        for image in self.images:
            for annotation in image["annotations"]:
                annotation.setdefault("keypoints", [0.5, 0.5, 0] * (length // 3))
