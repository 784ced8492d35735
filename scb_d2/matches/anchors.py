"""Anchors and matcher of a detector for any input size, without running it on pixels.

Shape shorthand: R anchors of an image over all L feature levels.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.fcos import FCOS
from detectron2.structures import Boxes, ImageList, RotatedBoxes
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.loss.atss_matching import ATSSMatcher
from scb_d2.loss.matching import match_anchors
from scb_d2.loss.point_matching import PointMatcher
from scb_d2.modeling.compiled_operators import check_rotated

from .near_anchors import AnchorGrids, NearRule

__all__ = ["AnchorGeometry", "ImageAnchors", "positive_threshold"]

_CACHED_SIZES = 16


class ImageAnchors(NamedTuple):
    """Anchors of one padded input size.

    Attributes:
        boxes: R anchors over all levels, network-input pixels.
        level_starts: (L + 1,) where each level begins in ``boxes``, and R.
        grid_sizes: (height, width) of each level's feature map.
        grids: how they are laid out; None where that is not regular.
    """

    boxes: Boxes | RotatedBoxes
    level_starts: list[int]
    grid_sizes: list[tuple[int, int]]
    grids: AnchorGrids | None


class AnchorGeometry:
    """The part of a detector that decides which anchors an object matches.

    The sizes of the feature maps are asked of the real backbone on PyTorch's ``meta`` device,
    which computes shapes and no values, once per padded input size.
    """

    def __init__(self, model: nn.Module):
        """Take what is needed from a detector; the backbone's weights are given up.

        Args:
            model: a detector on the CPU that matches anchors itself (RetinaNet, the SSD family:
                ``anchor_generator``, ``anchor_matcher``, ``head_in_features``; FCOS) or whose
                ``proposal_generator`` does (RPN).

        Raises:
            ConfigError: if the model matches no anchors before its first stage, or rotated ones
                without Detectron2's compiled operators.
        """
        owner = getattr(model, "proposal_generator", None) or model
        generator = getattr(owner, "anchor_generator", None)
        matcher = _find_matcher(owner)
        features = getattr(owner, "in_features", None) or getattr(owner, "head_in_features", None)
        if None in (generator, matcher, features) or not hasattr(model, "backbone"):
            raise ConfigError(
                f"the match report needs a detector that matches anchors to objects, such as "
                f"RetinaNet, FCOS, an RPN or SSD; {type(model).__name__} does not."
            )
        self.rotated = getattr(generator, "box_dim", 4) == 5
        if self.rotated:
            check_rotated(type(owner).__name__)
        self.name = type(owner).__name__
        self.backbone = model.backbone.to("meta").eval()
        self.anchor_generator = generator
        self.matcher = matcher
        self.near_rule = NearRule.of(matcher)
        self.in_features: Sequence[str] = tuple(features)
        self.boundary_threshold = getattr(owner, "anchor_boundary_thresh", -1)
        self._grids: dict[tuple[int, int], list[tuple[int, int]]] = {}
        self._anchors: OrderedDict[tuple[int, int], ImageAnchors] = OrderedDict()

    def padded_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of an input image after the padding that the backbone asks for.

        One image by itself: in training, images are also padded to the largest of their batch.
        """
        image = torch.empty((1, *image_size), device="meta")
        batch = ImageList.from_tensors(
            [image],
            self.backbone.size_divisibility,
            padding_constraints=self.backbone.padding_constraints,
        )
        return tuple(batch.tensor.shape[-2:])

    def grid_sizes(self, padded_size: tuple[int, int]) -> list[tuple[int, int]]:
        """Height and width of every feature map for a padded input size."""
        if padded_size not in self._grids:
            self._grids[padded_size] = self._run_backbone(padded_size)
        return self._grids[padded_size]

    def anchors(self, image_size: tuple[int, int]) -> ImageAnchors:
        """Anchors of an image of (height, width) network-input pixels before padding."""
        padded_size = self.padded_size(image_size)
        if padded_size not in self._anchors:
            grid_sizes = self.grid_sizes(padded_size)
            # Anchor generators read nothing but the shape of a feature map.
            maps = [torch.empty(1).expand(1, 1, *size) for size in grid_sizes]
            levels = self.anchor_generator(maps)
            starts = torch.tensor([0] + [len(boxes) for boxes in levels]).cumsum(0).tolist()
            boxes = type(levels[0]).cat(levels)
            grids = None
            if not self.rotated:
                grids = AnchorGrids.of(boxes.tensor.numpy(), starts, grid_sizes)
            self._anchors[padded_size] = ImageAnchors(boxes, starts, grid_sizes, grids)
            if len(self._anchors) > _CACHED_SIZES:
                self._anchors.popitem(last=False)
        self._anchors.move_to_end(padded_size)
        return self._anchors[padded_size]

    def match(
        self,
        gt_boxes: Boxes | RotatedBoxes,
        anchors: ImageAnchors,
        image_size: tuple[int, int],
        ious: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Match as in training, before any sampling.

        Args:
            gt_boxes: of the image's objects.
            anchors: of the image.
            image_size: (height, width) before padding.
            ious: (G, R) IoU of objects and anchors, where it is known.

        Returns:
            ``matched_idxs`` and ``anchor_labels``, see :mod:`scb_d2.loss.matching`.
        """
        if ious is not None:
            matched_idxs, anchor_labels = self.matcher(ious)
        else:
            level_sizes = [end - start for start, end in pairwise(anchors.level_starts)]
            matched_idxs, anchor_labels = match_anchors(
                gt_boxes, anchors.boxes, level_sizes, self.matcher
            )
        if self.boundary_threshold >= 0:
            inside = anchors.boxes.inside_box(image_size, self.boundary_threshold)
            anchor_labels = anchor_labels.masked_fill(~inside, -1)
        return matched_idxs, anchor_labels

    @torch.no_grad()
    def _run_backbone(self, padded_size: tuple[int, int]) -> list[tuple[int, int]]:
        try:
            features = self.backbone(torch.empty((1, 3, *padded_size), device="meta"))
        except (NotImplementedError, RuntimeError):
            # An operator without shape inference: run it for real, the values do not matter.
            self.backbone.to_empty(device="cpu")
            features = self.backbone(torch.zeros((1, 3, *padded_size)))
            self.backbone.to("meta")
        return [tuple(features[name].shape[-2:]) for name in self.in_features]


def _find_matcher(owner: nn.Module) -> Matcher | ATSSMatcher | PointMatcher | None:
    if isinstance(owner, FCOS):
        return PointMatcher(owner.center_sampling_radius)
    return getattr(owner, "anchor_matcher", None)


def positive_threshold(matcher: object) -> float:
    """IoU from which a matcher makes an anchor positive, its rule for the rest aside.

    Raises:
        ConfigError: if it has no such threshold.
    """
    if not isinstance(matcher, Matcher):
        raise ConfigError(f"{type(matcher).__name__} has no IoU from which anchors are positive.")
    # Detectron2 stores the thresholds between -inf and inf, one interval per label.
    lower_ends = dict(zip(reversed(matcher.labels), reversed(matcher.thresholds[:-1]), strict=True))
    threshold = lower_ends.get(1, -float("inf"))
    if threshold == -float("inf"):
        raise ConfigError("the anchor matcher has no IoU from which anchors become positive.")
    return float(threshold)
