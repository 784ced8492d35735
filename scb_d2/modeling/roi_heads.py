"""ROI heads with the scale-balanced loss: the second stage of R-CNN detectors.

Shape shorthand in this module:

    R: proposals of one image
    G: objects of the image
    M: proposals matched to an object
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.roi_heads import (
    ROI_HEADS_REGISTRY,
    CascadeROIHeads,
    FastRCNNOutputLayers,
    Res5ROIHeads,
    StandardROIHeads,
)
from detectron2.structures import Boxes, Instances
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.loss.anchor_targets import ObjectWeight
from scb_d2.loss.match_statistics import MatchStatistics
from scb_d2.loss.matching import COUNTS, match_boxes, match_counts
from scb_d2.utils.arguments import check_choice

from .box_predictor import WEIGHTS_FIELD, ScaleBalancedFastRCNNOutputLayers
from .from_config import weighting_from_config

__all__ = [
    "ScaleBalancedCascadeROIHeads",
    "ScaleBalancedRes5ROIHeads",
    "ScaleBalancedStandardROIHeads",
    "WeighsProposals",
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
            ret["box_predictor"] = _weighted_predictor(
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
            weighed = [
                self._weigh_before_sampling(*pair) for pair in zip(proposals, targets, strict=True)
            ]
            proposals, with_weights, counts = map(list, zip(*weighed, strict=True))
            sampled = super().label_and_sample_proposals(proposals, with_weights)
        else:
            with_ids = [
                self._with_object_ids(*pair) for pair in zip(proposals, targets, strict=True)
            ]
            sampled = super().label_and_sample_proposals(*map(list, zip(*with_ids, strict=True)))
            counts = [self._weigh_sampled(*pair) for pair in zip(sampled, targets, strict=True)]
        if self.statistics.due():
            self.statistics.log_matches(torch.cat(counts))
        return sampled

    def _with_object_ids(
        self, proposals: Instances, targets: Instances
    ) -> tuple[Instances, Instances]:
        """Copies of an image's proposals and targets from which sampled ones get ``gt_object_ids``.

        Detectron2 copies fields ``gt_*`` of the targets to the proposals sampled for them.
        """
        ids = torch.arange(len(targets), device=targets.gt_boxes.device)
        return proposals, with_fields(targets, gt_object_ids=ids)

    def _weigh_before_sampling(
        self, proposals: Instances, targets: Instances
    ) -> tuple[Instances, Instances, Tensor]:
        """Copies of an image's proposals and targets with weights, and its (G,) counts.

        Stock matches again and keeps the result to itself. Both get the field because stock may
        append the targets to the proposals, fields included, before it samples.
        """
        boxes = proposals.proposal_boxes
        if self.proposal_append_gt:
            boxes = type(boxes).cat([boxes, targets.gt_boxes])
        weights, counts = self._weigh(boxes, targets, self.proposal_matcher)
        own, appended = weights[: len(proposals)], weights[len(proposals) :]
        if self.proposal_append_gt:
            targets = with_fields(targets, **{WEIGHTS_FIELD: appended})
        return with_fields(proposals, **{WEIGHTS_FIELD: own}), targets, counts

    def _weigh_sampled(self, sampled: Instances, targets: Instances) -> Tensor:
        """Set the weights of an image's sampled proposals; return its (G,) counts."""
        gt_classes = sampled.gt_classes
        labels = ((gt_classes >= 0) & (gt_classes < self.num_classes)).to(torch.int8)
        if sampled.has("gt_object_ids"):
            matched_idxs = sampled.gt_object_ids
            sampled.remove("gt_object_ids")
        else:  # an image without objects
            matched_idxs = torch.zeros_like(gt_classes)
        weights = self.object_weight(matched_idxs, labels, targets.gt_boxes)
        sampled.set(WEIGHTS_FIELD, weights.float())
        return match_counts(matched_idxs, labels, len(targets))

    def _weigh(self, boxes: Boxes, targets: Instances, matcher: Matcher) -> tuple[Tensor, Tensor]:
        """Weights (R,) of the boxes and counts (G,) of the objects of an image."""
        gt_boxes = targets.gt_boxes
        matched_idxs, labels = match_boxes(gt_boxes, boxes, matcher)
        weights = self.object_weight(matched_idxs, labels, gt_boxes).float()
        return weights, match_counts(matched_idxs, labels, len(gt_boxes))


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedStandardROIHeads(WeighsProposals, StandardROIHeads):
    """Detectron2's standard ROI heads whose foreground proposals are weighted by object."""

    # detectron2.export tells TorchScript so of the stock class, and subclasses do not inherit it.
    mask_on: torch.jit.Final[bool]
    keypoint_on: torch.jit.Final[bool]


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedRes5ROIHeads(WeighsProposals, Res5ROIHeads):
    """Detectron2's C4 ROI heads whose foreground proposals are weighted by object."""


@ROI_HEADS_REGISTRY.register()
class ScaleBalancedCascadeROIHeads(WeighsProposals, CascadeROIHeads):
    """Detectron2's cascade whose foreground proposals are weighted by object, stage by stage.

    ``match_count`` rules the first cascade stage. The later ones do not sample: M counts what that
    stage matched. Statistics are logged as ``scb/second_stage0/...`` and so on.
    """

    @configurable
    def __init__(
        self,
        *,
        box_predictors: Sequence[nn.Module],
        statistics: Sequence[MatchStatistics] | None = None,
        **kwargs: Any,
    ):
        """Build the heads from their parts.

        Args:
            box_predictors: as in stock; with ``object_weight`` each a
                :class:`ScaleBalancedFastRCNNOutputLayers`.
            statistics: how match statistics are logged, one for each cascade stage.
            **kwargs: of :class:`ScaleBalancedStandardROIHeads` and of
                :class:`detectron2.modeling.roi_heads.CascadeROIHeads`.
        """
        stages = range(len(box_predictors))
        statistics = statistics or [MatchStatistics(f"second_stage{k}") for k in stages]
        super().__init__(box_predictors=box_predictors, statistics=statistics[0], **kwargs)
        self.stage_statistics = list(statistics)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """See :meth:`detectron2.modeling.roi_heads.CascadeROIHeads.from_config`."""
        ret = super().from_config(cfg, input_shape)
        ret.pop("statistics", None)
        if ret.get("object_weight") is not None:
            stages = [f"_stage{k}" for k in range(len(ret["box_predictors"]))]
            ret["statistics"] = [
                weighting_from_config(cfg, "second", substage=stage)["statistics"]
                for stage in stages
            ]
            ret["box_predictors"] = [
                _weighted_predictor(cls.predictor_class, cfg, predictor, stage)
                for predictor, stage in zip(ret["box_predictors"], stages, strict=True)
            ]
        return ret

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        proposals = super()._match_and_label_boxes(proposals, stage, targets)
        if self.object_weight is None:
            return proposals
        counts = []
        for proposals_i, targets_i in zip(proposals, targets, strict=True):
            weights, counts_i = self._weigh(
                proposals_i.proposal_boxes, targets_i, self.proposal_matchers[stage]
            )
            proposals_i.set(WEIGHTS_FIELD, weights)
            counts.append(counts_i)
        statistics = self.stage_statistics[stage]
        if statistics.due():
            statistics.log_matches(torch.cat(counts))
        return proposals


def _sampling_from_config(cfg: CfgNode) -> dict[str, Any]:
    weighting = weighting_from_config(cfg, "second", samples=True)
    keys = ("object_weight", "match_count", "statistics")
    return {key: weighting[key] for key in keys if key in weighting}


def _weighted_predictor(
    predictor_class: type[ScaleBalancedFastRCNNOutputLayers],
    cfg: CfgNode,
    predictor: FastRCNNOutputLayers,
    substage: str = "",
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
            statistics=weighting_from_config(cfg, "second", substage=substage)["statistics"],
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
    """A shallow copy with further fields; the caller's instances stay as they are."""
    return Instances(instances.image_size, **instances.get_fields(), **fields)
