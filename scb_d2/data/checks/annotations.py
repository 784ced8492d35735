"""What is said about the annotations of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from scb_d2.data.images import vanishes
from scb_d2.data.reader.records import Records
from scb_d2.data.reader.tally import Finding, Rules, Tally

from .needs import Needs

__all__ = ["annotation_findings"]

# A box may leave its image by rounding; beyond this many pixels it is reported.
_OUTSIDE_TOLERANCE = 1.0
# Boxes are taken for corners from this number and share of boxes outside their image on.
_MANY_OUTSIDE, _OUTSIDE_SHARE = 4, 0.25
# As many crowd regions with a mask, of COCO's own one in a hundred, are rather objects whose mask a
# tool wrote as RLE. Tiles have as many without one: objects that their borders cut off.
_MANY_CROWDS, _CROWD_SHARE = 10, 0.1

_RULES: Rules = {
    "fractional-box": (
        "error",
        "has boxes in shares of the image, from 0 to 1; [x, y, width, height] in pixels are needed",
    ),
    "corner-box": (
        "error",
        "has boxes that leave their image, but fit as corners [x1, y1, x2, y2]; "
        "[x, y, width, height] are needed",
    ),
    "no-mask": (
        "error",
        "has annotations without a mask, which MODEL.MASK_ON (use_instance_mask) needs",
    ),
    "rle-mask": (
        "error",
        "has masks in RLE, which the mask format 'polygon' cannot hold; set INPUT.MASK_FORMAT "
        "(instance_mask_format) to bitmask",
    ),
    "mask-size": (
        "error",
        "has masks in RLE whose size [height, width] is not that of their image",
    ),
    "no-keypoints": (
        "error",
        "has annotations with another number of keypoints than MODEL.ROI_KEYPOINT_HEAD."
        "NUM_KEYPOINTS (num_keypoints)",
    ),
    "elongated-image": (
        "error",
        "has images so long that resizing to INPUT.MIN_SIZE_TEST and MAX_SIZE_TEST leaves nothing "
        "of them",
    ),
    "skipped-image": (
        "warning",
        "has images so long that resizing for training leaves nothing of them, which are passed "
        "over",
    ),
    "duplicate-category-name": ("warning", "has category names that are used more than once"),
    "duplicate-object": (
        "warning",
        "has objects that are there more than once, by class and box, each of which counts",
    ),
    "empty-box": (
        "warning",
        "has boxes of zero width or height, which are dropped from training as Detectron2 does",
    ),
    "box-outside-image": ("warning", "has boxes that leave their image by more than a pixel"),
    "area-mismatch": (
        "warning",
        "has areas that exceed the box, so that sizes are counted wrongly",
    ),
    "empty-image": ("note", "has images without an annotation"),
    "crowd": ("note", "has crowd regions, which are not trained on"),
    "difficult": ("note", "has difficult objects, which are trained on and not evaluated"),
    "unused-category": ("note", "has categories without an annotation"),
}


def annotation_findings(
    records: Records, needs: Needs, *, training: bool, evaluation: bool
) -> list[Finding]:
    """Look at every annotation of a data set.

    Args:
        records: the data set.
        needs: what the model asks of it.
        training: whether it is to be trained on, so must have objects.
        evaluation: whether it is to be evaluated on.
    """
    look = _Look(records, needs, training, evaluation)
    for image in records.images:
        look.at(image)
    return look.findings()


class _Look:
    def __init__(self, records: Records, needs: Needs, training: bool, evaluation: bool) -> None:
        self.records, self.needs = records, needs
        self.training, self.evaluation = training, evaluation
        self.tally = Tally(records.subject, _RULES)
        self.used: set[int] = set()
        self.objects = self.fractional = self.as_corners = self.boxes = 0
        self.without_keypoints = self.crowd_masks = self.evaluated = 0

    def at(self, image: dict[str, Any]) -> None:
        name = f"image {image['image_id']!r}"
        annotations = image.get("annotations", ())
        if not annotations:
            self.tally.add("empty-image", name)
        size = (image.get("width"), image.get("height"))
        trainable = self._resizable(size, name) and self._shows_keypoints(annotations)
        seen: set[tuple[float, ...]] = set()
        for annotation in annotations:
            example = f"annotation {annotation['id']!r}"
            self.used.add(annotation["category_id"])
            if annotation["iscrowd"]:
                self.tally.add("crowd", example)
                self.crowd_masks += isinstance(annotation.get("segmentation"), dict)
            elif trainable and all(annotation["bbox"][2:4]):  # empty ones are dropped
                self.objects += 1
            if not annotation["iscrowd"] and all(annotation["bbox"][2:4]):
                key = (annotation["category_id"], *annotation["bbox"])
                if key in seen:
                    self.tally.add("duplicate-object", f"{example} of {name}")
                seen.add(key)
            self.evaluated += not annotation["iscrowd"] and not annotation.get("difficult")
            if annotation.get("difficult"):
                self.tally.add("difficult", example)
            if len(annotation["bbox"]) == 4:
                self._at_box(annotation, size, example)
            self._at_parts(annotation, size, example)

    def _resizable(self, size: tuple[Any, Any], name: str) -> bool:
        if not all(size):
            return True
        shown = f"{name} of {size[0]:g} x {size[1]:g}"
        shape = (size[1], size[0])
        if self.evaluation and vanishes(shape, self.needs.test_resize):
            self.tally.add("elongated-image", shown)
        if self.training and vanishes(shape, self.needs.train_resize):
            self.tally.add("skipped-image", shown)
            return False
        return True

    def _shows_keypoints(self, annotations: Sequence[dict[str, Any]]) -> bool:
        """Whether there are as many visible keypoints as Detectron2's loader asks for."""
        least = self.needs.min_keypoints
        visible = sum(v > 0 for a in annotations for v in a.get("keypoints", ())[2::3])
        self.without_keypoints += visible < least
        return visible >= least

    def _at_box(self, annotation: dict[str, Any], size: tuple[Any, Any], example: str) -> None:
        box = annotation["bbox"]
        x, y, width, height = box
        right, bottom = x + width, y + height
        self.boxes += 1
        if width == 0 or height == 0:
            if self.training:
                self.tally.add("empty-box", f"{example} with bbox {box!r}")
            return
        if size[0] and size[1]:
            slack = _OUTSIDE_TOLERANCE
            limits = size[0] + slack, size[1] + slack
            if x < -slack or y < -slack or right > limits[0] or bottom > limits[1]:
                self.tally.add("box-outside-image", f"{example} with bbox {box!r}")
            if right <= 1 and bottom <= 1 and size[0] > 2 and size[1] > 2:
                self.fractional += 1
            if x < width <= limits[0] and y < height <= limits[1]:
                self.as_corners += 1
        # Some write the area of (w + 1) x (h + 1) inclusive pixels.
        if annotation["area"] > 1.01 * (width + 1) * (height + 1):
            self.tally.add("area-mismatch", f"{example}: {annotation['area']:g} of bbox {box!r}")

    def _at_parts(self, annotation: dict[str, Any], size: tuple[Any, Any], example: str) -> None:
        needs, trained = self.needs, self.training and not annotation["iscrowd"]
        if not (trained or self.evaluation):
            return
        if needs.masks:
            mask = annotation.get("segmentation")
            if mask is None:
                self.tally.add("no-mask", example)
            elif trained and needs.mask_format == "polygon" and isinstance(mask, dict):
                self.tally.add("rle-mask", example)
            elif isinstance(mask, dict) and all(size) and list(mask["size"]) != [*reversed(size)]:
                self.tally.add("mask-size", f"{example}: {list(mask['size'])}")
        if needs.num_keypoints:
            found = len(annotation.get("keypoints", ())) // 3
            if found != needs.num_keypoints:
                self.tally.add("no-keypoints", f"{example}: {found}, not {needs.num_keypoints}")

    def findings(self) -> list[Finding]:
        names = self.records.class_names
        for n, name in enumerate(names):
            if n not in self.used:
                self.tally.add("unused-category", repr(name))
            if name in names[:n]:
                self.tally.add("duplicate-category-name", repr(name))
        first = self._first_box()
        outside = self.tally.count("box-outside-image")
        if self.boxes and self.fractional == self.boxes:
            self.tally.add("fractional-box", first)
        many = max(_MANY_OUTSIDE, _OUTSIDE_SHARE * self.boxes)
        if outside >= many and self.as_corners == self.boxes:
            self.tally.add("corner-box", first)
        found = self.tally.findings()
        if self.crowd_masks >= max(_MANY_CROWDS, _CROWD_SHARE * self.records.num_annotations):
            found = [replace(f, severity="warning") if f.code == "crowd" else f for f in found]
        # Faulty annotations were left out, so that they say nothing of what is there.
        faulty = any(f.severity == "error" for f in self.records.tally.findings())
        if self.training and not self.objects and not faulty:
            message = f"{self.records.subject} has no object to train on{self._why_no_object()}."
            found.append(Finding("error", "no-object", message))
        elif self.evaluation and not self.evaluated and self.records.has_annotations and not faulty:
            message = f"{self.records.subject} has no object to evaluate on: every AP will be nan."
            found.append(Finding("warning", "nothing-to-evaluate", message))
        return found

    def _why_no_object(self) -> str:
        if self.without_keypoints:
            return (
                f": images without {self.needs.min_keypoints} visible keypoints are left out "
                "(MODEL.ROI_KEYPOINT_HEAD.MIN_KEYPOINTS_PER_IMAGE, min_keypoints)"
            )
        if self.tally.count("skipped-image"):
            return ": resizing by INPUT.MIN_SIZE_TRAIN and MAX_SIZE_TRAIN leaves nothing of images"
        if self.tally.count("empty-box"):
            return ": its boxes have no width or height"
        return ", crowd regions apart" if self.tally.count("crowd") else ""

    def _first_box(self) -> str:
        boxed = (a for image in self.records.images for a in image.get("annotations", ()))
        return next((f"annotation {a['id']!r} with bbox {a['bbox']!r}" for a in boxed), "")
