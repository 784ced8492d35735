"""ROI heads with the scale-balanced loss: the second stage of R-CNN detectors.

Shape shorthand in this module:

    R: proposals of one image
    G: objects of the image
    M: proposals matched to an object
"""

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.proposal_generator.proposal_utils import add_ground_truth_to_proposals
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    StandardROIHeads,
)
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.loss.anchor_targets import ObjectWeight
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.matching import COUNTS, match_boxes, match_counts
from scb_d2.utils.arguments import check_choice

from .box_predictor import WEIGHTS_FIELD, ScaleBalancedFastRCNNOutputLayers
from .from_config import weighting_from_config

__all__ = [
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedStandardROIHeads",
    "WeighsProposals",
    "weighted_predictor",
    "with_fields",
]


class WeighsProposals:
    """Mixin of ROI heads: sampled proposals carry the weight of their object.

    The weights travel as a field of the proposals to the box predictor, a
    :class:`ScaleBalancedFastRCNNOutputLayers`. Mask and keypoint losses are untouched. With
    ``object_weight=None`` everything is stock.
    """

    scb_stages = ("second",)
    predictor_class = ScaleBalancedFastRCNNOutputLayers

    @configurable
    def __init__(
        self,
        *,
        object_weight: ObjectWeight | None = None,
        match_count: str = "matched",
        statistics: MatchStatistics | None = None,
        **kwargs: Any,
    ):
        """Build the heads from their parts.

        Args:
            object_weight: weight per proposal from (matched_idxs, proposal_labels, gt_boxes) of
                an image, usually a :class:`scb_d2.ScaleBalancedWeight`. None: stock.
            match_count: which proposals M counts: ``"matched"``, all foreground proposals before
                sampling, appended ground-truth boxes included, or ``"sampled"``, those that
                survive sampling.
            statistics: how match statistics are logged; None: as ``scb/second/...`` every 20
                iterations.
            **kwargs: of the stock class. With ``object_weight`` the box predictor must be a
                :class:`ScaleBalancedFastRCNNOutputLayers`, which applies the weights.

        Raises:
            ConfigError: if ``match_count`` is not allowed or the box predictor cannot weight.
        """
        super().__init__(**kwargs)
        self.object_weight = object_weight
        self.match_count = check_choice(match_count, COUNTS, "match_count")
        self.statistics = statistics or MatchStatistics("second")
        if object_weight is not None:
            _check_predictors(self.box_predictor)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """See ``from_config`` of the stock class."""
        ret = super().from_config(cfg, input_shape)
        ret.update(_sampling_from_config(cfg))
        if ret.get("object_weight") is not None and "box_predictor" in ret:
            ret["box_predictor"] = weighted_predictor(
                cls.predictor_class, cfg, ret["box_predictor"]
            )
        return ret

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """See :meth:`detectron2.modeling.roi_heads.ROIHeads.label_and_sample_proposals`.

        Returns:
            The sampled proposals as in stock, with the further field ``scb_weights``.
        """
        if self.object_weight is None:
            return super().label_and_sample_proposals(proposals, targets)
        if self.match_count == "matched":
            if self.proposal_append_gt:
                proposals = add_ground_truth_to_proposals(targets, proposals)
            sampled, counts = zip(
                *map(self._match_weigh_and_sample, proposals, targets), strict=True
            )
            sampled = list(sampled)
            self._log_sampled(sampled)
        else:
            with_ids = [
                self._with_object_ids(*pair) for pair in zip(proposals, targets, strict=True)
            ]
            sampled = super().label_and_sample_proposals(*map(list, zip(*with_ids, strict=True)))
            counts = [self._weigh_sampled(*pair) for pair in zip(sampled, targets, strict=True)]
        if self.statistics.due():
            self.statistics.log_matches(torch.cat(list(counts)))
        return sampled

    def _match_weigh_and_sample(
        self, proposals: Instances, targets: Instances
    ) -> tuple[Instances, Tensor]:
        """The sampled proposals of an image, with weights, and its (G,) counts.

        Stock keeps what it matched to itself, so calling it would match twice.
        """
        matched_idxs, labels = match_boxes(
            targets.gt_boxes, proposals.proposal_boxes, self.proposal_matcher
        )
        weights, counts = self._weigh(matched_idxs, labels, targets)
        sampled_idxs, gt_classes = self._sample_proposals(matched_idxs, labels, targets.gt_classes)
        sampled = proposals[sampled_idxs]
        sampled.gt_classes = gt_classes
        sampled.set(WEIGHTS_FIELD, weights[sampled_idxs])
        if len(targets):
            owners = matched_idxs[sampled_idxs]
            for name, value in targets.get_fields().items():
                if name.startswith("gt_") and not sampled.has(name):
                    sampled.set(name, value[owners])
        return sampled, counts

    def _log_sampled(self, sampled: list[Instances]) -> None:
        """Log what stock logs."""
        background = [int((x.gt_classes == self.num_classes).sum()) for x in sampled]
        storage = get_event_storage()
        storage.put_scalar(
            "roi_head/num_fg_samples", np.mean([len(x) for x in sampled]) - np.mean(background)
        )
        storage.put_scalar("roi_head/num_bg_samples", np.mean(background))

    def _with_object_ids(
        self, proposals: Instances, targets: Instances
    ) -> tuple[Instances, Instances]:
        """Copies of an image's proposals and targets from which sampled ones get ``gt_object_ids``.

        Detectron2 copies fields ``gt_*`` of the targets to the proposals sampled for them.
        """
        ids = torch.arange(len(targets), device=targets.gt_boxes.device)
        return proposals, with_fields(targets, gt_object_ids=ids)

    def _weigh_sampled(self, sampled: Instances, targets: Instances) -> Tensor:
        """Set the weights of an image's sampled proposals; return its (G,) counts."""
        gt_classes = sampled.gt_classes
        labels = ((gt_classes >= 0) & (gt_classes < self.num_classes)).to(torch.int8)
        if sampled.has("gt_object_ids"):
            matched_idxs = sampled.gt_object_ids
            sampled.remove("gt_object_ids")
        else:  # an image without objects
            matched_idxs = torch.zeros_like(gt_classes)
        weights, counts = self._weigh(matched_idxs, labels, targets)
        sampled.set(WEIGHTS_FIELD, weights)
        return counts

    def _weigh(
        self, matched_idxs: Tensor, labels: Tensor, targets: Instances
    ) -> tuple[Tensor, Tensor]:
        """Weights (R,) of the proposals and counts (G,) of the objects of an image."""
        weights = self.object_weight(matched_idxs, labels, targets.gt_boxes).float()
        return weights, match_counts(matched_idxs, labels, len(targets))


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedStandardROIHeads(WeighsProposals, StandardROIHeads):
    """Detectron2's standard ROI heads whose foreground proposals are weighted by object."""

    # detectron2.export tells TorchScript so of the stock class, and subclasses do not inherit it.
    mask_on: torch.jit.Final[bool]
    keypoint_on: torch.jit.Final[bool]


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedRes5ROIHeads(WeighsProposals, Res5ROIHeads):
    """Detectron2's C4 ROI heads whose foreground proposals are weighted by object."""


def _sampling_from_config(cfg: CfgNode) -> dict[str, Any]:
    weighting = weighting_from_config(cfg, "second", samples=True)
    keys = ("object_weight", "match_count", "statistics")
    return {key: weighting[key] for key in keys if key in weighting}


def weighted_predictor(
    predictor_class: type[ScaleBalancedFastRCNNOutputLayers],
    cfg: CfgNode,
    predictor: FastRCNNOutputLayers,
) -> ScaleBalancedFastRCNNOutputLayers:
    """The twin of a stock box predictor, which Detectron2's ROI heads build by name.

    It has the same weights, and making it draws no random numbers, so that a seed gives the
    model that it gives in stock Detectron2.
    """
    with torch.random.fork_rng(devices=[]):
        twin = predictor_class(
            cfg,
            ShapeSpec(channels=predictor.cls_score.in_features),
            box2box_transform=predictor.box2box_transform,
        )
    twin.load_state_dict(predictor.state_dict())
    return twin


def _check_predictors(box_predictor: nn.Module) -> None:
    predictors = box_predictor if isinstance(box_predictor, nn.ModuleList) else [box_predictor]
    for predictor in predictors:
        if not isinstance(predictor, ScaleBalancedFastRCNNOutputLayers):
            raise ConfigError(
                "scale-balanced ROI heads with an object_weight need a "
                "ScaleBalancedFastRCNNOutputLayers as box predictor; got "
                f"{type(predictor).__name__}."
            )


def with_fields(instances: Instances, **fields: Tensor) -> Instances:
    """A shallow copy with other fields; the caller's instances stay as they are."""
    return Instances(instances.image_size, **{**instances.get_fields(), **fields})
