"""SSD as a Detectron2 meta-architecture.

Shape shorthand in this module:

    N: images in the batch
    R: anchors of an image over all feature levels
    A: anchors per cell
    K: classes; index K is background
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    Backbone,
    build_anchor_generator,
    build_backbone,
)
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.meta_arch.dense_detector import DenseDetector
from detectron2.structures import Boxes, ImageList, Instances
from detectron2.utils.logger import log_first_n
from torch import Tensor, nn
from torch.nn import functional as F

from scb_d2.errors import DataError
from scb_d2.loss.anchor_targets import ObjectWeight
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher
from scb_d2.modeling.from_config import is_weighted, weighting_from_config

from .head import MultiBoxHead
from .inference import detect_objects
from .multibox_loss import MultiBoxLoss
from .weights import check_fit, convert_weights

__all__ = ["SSD", "build_ssd_matcher"]


def build_ssd_matcher(matching: str = "auto") -> ScaleBalancedMatcher:
    """The matcher of the SSD family: IoU >= 0.5, and one best anchor for each object.

    ``"reassign"`` whether or not the loss is balanced: it is the rule of the paper's code.

    Args:
        matching: how matches are found, see :class:`scb_d2.ScaleBalancedMatcher`.
    """
    return ScaleBalancedMatcher(
        [0.5], [0, 1], allow_low_quality_matches=True, low_quality="reassign", matching=matching
    )


def _note_fixed_matching(cfg: CfgNode) -> None:
    """Say once that MODEL.SCB.LOW_QUALITY is not a choice here."""
    if is_weighted(cfg, "first") and cfg.MODEL.SCB.LOW_QUALITY != "reassign":
        log_first_n(
            logging.WARNING,
            f"MODEL.SCB.LOW_QUALITY {cfg.MODEL.SCB.LOW_QUALITY!r} has no effect: the SSD family "
            "always matches by 'reassign'.",
            n=1,
            key="message",
            name=__name__,
        )


@META_ARCH_REGISTRY.register()
class SSD(DenseDetector):
    """Single Shot MultiBox Detector (Liu et al. 2016), plain or with the scale-balanced loss.

    The network sees images of ``image_size`` x ``image_size`` pixels, the size that its anchors are
    made for. In inference other images are warped to it; in training the mapper must have done so
    (:class:`.data.SSDDatasetMapper`).
    """

    scb_stages = ("first",)

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone,
        head: nn.Module,
        head_in_features: Sequence[str],
        anchor_generator: nn.Module,
        box2box_transform: Box2BoxTransform,
        anchor_matcher: Matcher,
        num_classes: int,
        image_size: int,
        neg_pos_ratio: float = 3.0,
        smooth_l1_beta: float = 1.0,
        object_weight: ObjectWeight | None = None,
        weighted_losses: Sequence[str] = ("cls", "box"),
        weight_normalizer: str = "stock",
        statistics: MatchStatistics | None = None,
        test_score_thresh: float = 0.01,
        test_topk_candidates: int = 400,
        test_nms_thresh: float = 0.45,
        max_detections_per_image: int = 200,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "RGB",
    ):
        """Build the detector from its parts.

        Args:
            backbone: makes the feature maps.
            head: makes logits and deltas of them, see :class:`MultiBoxHead`.
            head_in_features: names of the maps, in the order of the anchor levels.
            anchor_generator: see :class:`SSDAnchorGenerator`.
            box2box_transform: how deltas relate anchors to boxes.
            anchor_matcher: see :func:`build_ssd_matcher`.
            num_classes: K, without background.
            image_size: side of the square input, pixels.
            neg_pos_ratio: see :class:`MultiBoxLoss`.
            smooth_l1_beta: see :class:`MultiBoxLoss`.
            object_weight: see :class:`MultiBoxLoss`.
            weighted_losses: see :class:`MultiBoxLoss`.
            weight_normalizer: see :class:`MultiBoxLoss`.
            statistics: see :class:`MultiBoxLoss`.
            test_score_thresh: see :func:`detect_objects`.
            test_topk_candidates: see :func:`detect_objects`.
            test_nms_thresh: see :func:`detect_objects`.
            max_detections_per_image: see :func:`detect_objects`.
            pixel_mean: per channel, in the order of ``input_format``.
            pixel_std: per channel.
            input_format: order of the image's channels.
        """
        super().__init__(
            backbone, head, list(head_in_features), pixel_mean=pixel_mean, pixel_std=pixel_std
        )
        self.anchor_generator = anchor_generator
        self.box2box_transform = box2box_transform
        self.anchor_matcher = anchor_matcher
        self.num_classes = num_classes
        self.image_size = image_size
        self.multibox_loss = MultiBoxLoss(
            num_classes=num_classes,
            box2box_transform=box2box_transform,
            neg_pos_ratio=neg_pos_ratio,
            smooth_l1_beta=smooth_l1_beta,
            object_weight=object_weight,
            weighted_losses=weighted_losses,
            weight_normalizer=weight_normalizer,
            statistics=statistics,
        )
        self.test_score_thresh = test_score_thresh
        self.test_topk_candidates = test_topk_candidates
        self.test_nms_thresh = test_nms_thresh
        self.max_detections_per_image = max_detections_per_image
        self.input_format = input_format

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts from ``MODEL.SSD``, ``MODEL.SCB`` and Detectron2's own keys."""
        ssd = cfg.MODEL.SSD
        _note_fixed_matching(cfg)
        backbone = build_backbone(cfg)
        feature_shapes = [backbone.output_shape()[name] for name in ssd.IN_FEATURES]
        return {
            "backbone": backbone,
            "head": MultiBoxHead(cfg, feature_shapes),
            "head_in_features": ssd.IN_FEATURES,
            "anchor_generator": build_anchor_generator(cfg, feature_shapes),
            "box2box_transform": Box2BoxTransform(weights=ssd.BBOX_REG_WEIGHTS),
            "anchor_matcher": build_ssd_matcher(),
            "num_classes": ssd.NUM_CLASSES,
            "image_size": ssd.IMAGE_SIZE,
            "neg_pos_ratio": ssd.NEG_POS_RATIO,
            "smooth_l1_beta": ssd.SMOOTH_L1_BETA,
            "test_score_thresh": ssd.SCORE_THRESH_TEST,
            "test_topk_candidates": ssd.TOPK_CANDIDATES_TEST,
            "test_nms_thresh": ssd.NMS_THRESH_TEST,
            "max_detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            **weighting_from_config(cfg, "first"),
        }

    @property
    def object_weight(self) -> ObjectWeight | None:
        """The weighting of the loss; None: plain SSD."""
        return self.multibox_loss.object_weight

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        """Take weights of VGG16 and of torchvision's SSD300 too, see :func:`convert_weights`."""
        converted = None if prefix else convert_weights(state_dict, self.num_classes)
        if converted is not None:
            check_fit(converted, self.state_dict())
            state_dict.clear()
            state_dict.update(converted)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """See :meth:`detectron2.modeling.meta_arch.dense_detector.DenseDetector.forward`.

        Raises:
            DataError: in training, if an image is not of ``image_size`` x ``image_size`` pixels.
        """
        return super().forward([self._at_image_size(x) for x in batched_inputs])

    def _at_image_size(self, inputs: dict[str, Any]) -> dict[str, Any]:
        height, width = inputs["image"].shape[-2:]
        size = (self.image_size, self.image_size)
        if (height, width) == size:
            return inputs
        if self.training:
            raise DataError(
                f"{type(self).__name__} trains on images of {size[1]} x {size[0]} pixels; got one "
                f"of {width} x {height}: set INPUT.MAPPER to 'SSDDatasetMapper'."
            )
        image = self._move_to_current_device(inputs["image"]).float()[None]
        image = F.interpolate(image, size=size, mode="bilinear", align_corners=False)[0]
        return {"height": height, "width": width, **inputs, "image": image}

    def _flat_predictions(
        self, predictions: tuple[list[Tensor], list[Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """(N, R, K + 1) logits and (N, R, 4) deltas from what the head returned."""
        logits, deltas = self._transpose_dense_predictions(predictions, [self.num_classes + 1, 4])
        return torch.cat(logits, dim=1), torch.cat(deltas, dim=1)

    def forward_training(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
        gt_instances: list[Instances],
    ) -> dict[str, Tensor]:
        """Losses of a batch: ``loss_cls`` and ``loss_box_reg``."""
        pred_logits, pred_anchor_deltas = self._flat_predictions(predictions)
        anchors = Boxes.cat(self.anchor_generator(features))
        gt_labels, matched = self.multibox_loss.label_anchors(
            anchors, gt_instances, self.anchor_matcher
        )
        return self.multibox_loss(
            anchors.tensor, pred_logits, gt_labels, pred_anchor_deltas, matched
        )

    def forward_inference(
        self,
        images: ImageList,
        features: list[Tensor],
        predictions: tuple[list[Tensor], list[Tensor]],
    ) -> list[Instances]:
        """Detections of each image, in pixels of the network's input."""
        pred_logits, pred_anchor_deltas = self._flat_predictions(predictions)
        pred_scores = pred_logits.float().softmax(dim=-1)[..., :-1]
        anchors = Boxes.cat(self.anchor_generator(features)).tensor
        return [
            self._detect(anchors, scores, deltas, size)
            for scores, deltas, size in zip(
                pred_scores, pred_anchor_deltas, images.image_sizes, strict=True
            )
        ]

    def _detect(
        self, anchors: Tensor, scores: Tensor, deltas: Tensor, image_size: tuple[int, int]
    ) -> Instances:
        return detect_objects(
            anchors,
            scores,
            deltas,
            self.box2box_transform,
            image_size,
            score_thresh=self.test_score_thresh,
            topk_candidates=self.test_topk_candidates,
            nms_thresh=self.test_nms_thresh,
            max_detections=self.max_detections_per_image,
        )
