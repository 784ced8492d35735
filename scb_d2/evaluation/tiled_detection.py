"""Detection tile by tile, merged into detections of the whole image.

Tiles are cut from the image as it is on disk and go through the config's own test transforms, so a
tile of the training images' size is seen at the training scale. Objects larger than a tile are
found on the whole image, which is run too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances, pairwise_ioa
from torch import Tensor, nn

from scb_d2.data.images import read_image
from scb_d2.data.tiles.windows import Window, check_tiles, tile_windows
from scb_d2.errors import ConfigError

__all__ = [
    "TileSettings",
    "TiledModel",
    "detect_in_tiles",
    "lazy_tile_settings",
    "merge_tiles",
    "tile_settings",
]

_FIELDS = {"pred_boxes", "scores", "pred_classes"}
_AT_BORDER = 1.0
_COVERED = 0.5


@dataclass(frozen=True)
class TileSettings:
    """How images are cut and detections merged.

    Attributes:
        size: side of a tile, pixels of the image.
        overlap: of neighbouring tiles, in [0, 1).
        whole_image: whether the whole image is run too.
        nms_threshold: IoU above which one of two detections of a class goes.
        detections_per_image: most detections kept.
    """

    size: int
    overlap: float = 0.2
    whole_image: bool = True
    nms_threshold: float = 0.5
    detections_per_image: int = 100


def tile_settings(cfg: CfgNode) -> TileSettings | None:
    """The keys under ``TEST.TILES``; None where images are not tiled.

    Raises:
        ConfigError: naming the key.
    """
    tiles = cfg.TEST.TILES
    if tiles.SIZE == 0:
        return None
    check_tiles(tiles.SIZE, tiles.OVERLAP, "TEST.TILES.SIZE", "TEST.TILES.OVERLAP")
    _check_iou(tiles.NMS_THRESH, "TEST.TILES.NMS_THRESH")
    if cfg.MODEL.MASK_ON or cfg.MODEL.KEYPOINT_ON:
        raise ConfigError(
            "TEST.TILES.SIZE merges boxes only; MODEL.MASK_ON and KEYPOINT_ON must be False."
        )
    if cfg.TEST.RECALL.ENABLED and cfg.TEST.RECALL.AREA == "input":
        raise ConfigError(
            "TEST.RECALL.AREA 'input' has no meaning with TEST.TILES.SIZE, where an "
            "object is seen at several sizes; take 'annotation' or 'box'."
        )
    return TileSettings(
        size=tiles.SIZE,
        overlap=tiles.OVERLAP,
        whole_image=tiles.WHOLE_IMAGE,
        nms_threshold=tiles.NMS_THRESH,
        detections_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
    )


def lazy_tile_settings(tiles: Mapping[str, Any]) -> TileSettings | None:
    """The same of a LazyConfig's ``train.tiles``, whose keys are the fields of the settings.

    Raises:
        ConfigError: naming the key.
    """
    try:
        settings = TileSettings(**tiles)
    except TypeError:
        names = ", ".join(field.name for field in fields(TileSettings))
        raise ConfigError(f"train.tiles: takes {names}; got {', '.join(tiles)}.") from None
    if settings.size == 0:
        return None
    check_tiles(settings.size, settings.overlap, "train.tiles.size", "train.tiles.overlap")
    _check_iou(settings.nms_threshold, "train.tiles.nms_threshold")
    return settings


def _check_iou(value: float, name: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"{name} must be an IoU above 0 and at most 1; got {value!r}.")


class TiledModel(nn.Module):
    """A detector that sees images tile by tile; takes and gives what the detector does.

    As Detectron2's test-time augmentation it reads the image of an input again, by ``file_name``.
    """

    def __init__(self, model: nn.Module, mapper: Any, settings: TileSettings):
        """Wrap a detector.

        Args:
            model: boxes only.
            mapper: of its test images, with ``augmentations`` and ``image_format`` as Detectron2's
                ``DatasetMapper``.
            settings: of the tiles.
        """
        super().__init__()
        self.model, self.settings = model, settings
        self.augmentations, self.image_format = mapper.augmentations, mapper.image_format
        self.pixel_range = getattr(mapper, "pixel_range", ())
        self.train(model.training)

    def forward(self, batched_inputs: Sequence[dict[str, Any]]) -> list[dict[str, Instances]]:
        """Detections in pixels of the images on disk."""
        return [{"instances": self._detect(inputs["file_name"])} for inputs in batched_inputs]

    def _detect(self, file_name: str) -> Instances:
        image = read_image(file_name, self.image_format, self.pixel_range)
        return detect_in_tiles(self._detect_pixels, image, self.settings)

    def _detect_pixels(self, image: np.ndarray) -> Instances:
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        height, width = image.shape[:2]
        inputs = {"image": torch.as_tensor(pixels), "height": height, "width": width}
        outputs = self.model([inputs])[0]
        if "instances" not in outputs:
            raise ConfigError(
                f"tiles merge detections; the model gives {', '.join(outputs)} and no instances."
            )
        return outputs["instances"]


def detect_in_tiles(
    detect: Callable[[np.ndarray], Instances], image: np.ndarray, settings: TileSettings
) -> Instances:
    """Detect on the tiles of one image and merge.

    Args:
        detect: gives detections in pixels of the part of an image that it is given.
        image: (H, W, 3).
        settings: of the tiles.

    Returns:
        Detections in pixels of ``image``, on the device of the detector, the best first.
    """
    height, width = image.shape[:2]
    windows = tile_windows(height, width, settings.size, settings.overlap)
    if len(windows) == 1:  # the tile is the image: the detector's own NMS and limits hold
        found = detect(image)
        _check_boxes_only([found])
        return found
    if settings.whole_image:
        windows.append((0, 0, width, height))
    parts = [(detect(image[y0:y1, x0:x1]), (x0, y0, x1, y1)) for x0, y0, x1, y1 in windows]
    return merge_tiles(parts, (height, width), settings)


def merge_tiles(
    parts: Sequence[tuple[Instances, Window]], image_size: tuple[int, int], settings: TileSettings
) -> Instances:
    """Detections of tiles as those of their image.

    A detection that ends at a border of its tile within the image may be the rest of an object that
    another tile shows whole: it goes where a whole detection of its class covers half of it, and
    else takes part as it is.

    Args:
        parts: detections in pixels of their tile, and where it lies.
        image_size: height and width.
        settings: of the tiles.

    Raises:
        ConfigError: if the detections are more than boxes.
    """
    _check_boxes_only([found for found, _ in parts])
    boxes, cut = zip(*(_shifted(found, window, image_size) for found, window in parts), strict=True)
    boxes, cut = torch.cat(boxes), torch.cat(cut)
    scores = torch.cat([found.scores for found, _ in parts])
    classes = torch.cat([found.pred_classes for found, _ in parts])

    whole, rest = torch.nonzero(~cut)[:, 0], torch.nonzero(cut)[:, 0]
    whole = whole[batched_nms(boxes[whole], scores[whole], classes[whole], settings.nms_threshold)]
    covered = pairwise_ioa(Boxes(boxes[whole]), Boxes(boxes[rest])) >= _COVERED
    same = classes[whole][:, None] == classes[rest][None]
    rest = rest[~(covered & same).any(dim=0)]
    kept = torch.cat([whole, rest])
    kept = kept[batched_nms(boxes[kept], scores[kept], classes[kept], settings.nms_threshold)]
    if settings.detections_per_image > 0:
        kept = kept[: settings.detections_per_image]
    merged = Instances(image_size)
    merged.pred_boxes, merged.scores = Boxes(boxes[kept]), scores[kept]
    merged.pred_classes = classes[kept]
    return merged


def _check_boxes_only(parts: Sequence[Instances]) -> None:
    more = {field for found in parts for field in found.get_fields()} - _FIELDS
    if more:
        raise ConfigError(
            f"tiles merge boxes only; the model also gives {', '.join(sorted(more))}."
        )


def _shifted(
    found: Instances, window: Window, image_size: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """(D, 4) boxes in pixels of the image, and (D,) whether a border within it cuts them."""
    x0, y0, x1, y1 = window
    height, width = image_size
    boxes = found.pred_boxes.tensor + found.pred_boxes.tensor.new_tensor([x0, y0, x0, y0])
    cut = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    borders = ((0, x0, 0, -1), (1, y0, 0, -1), (2, x1, width, 1), (3, y1, height, 1))
    for column, border, end, sign in borders:
        if border != end:
            cut |= sign * (boxes[:, column] - border) > -_AT_BORDER
    return boxes, cut
