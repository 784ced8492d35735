"""Cascade R-CNN's ROI heads with the scale-balanced loss.

Shape shorthand in this module:

    G: objects of an image
    M: proposals matched to an object
"""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY, CascadeROIHeads
from detectron2.structures import Instances
from torch import nn

from scb_d2.loss.match_statistics import MatchStatistics

from .box_predictor import WEIGHTS_FIELD
from .from_config import weighting_from_config
from .roi_heads import WeighsProposals, weighted_predictor, with_fields

__all__ = ["ScaleBalancedCascadeROIHeads"]


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
            statistics: how match statistics are logged, one for each cascade stage, whose box
                predictor logs by it too; None: as ``scb/second_stage0/...`` and so on every 20
                iterations.
            **kwargs: of :class:`ScaleBalancedStandardROIHeads` and of
                :class:`detectron2.modeling.roi_heads.CascadeROIHeads`.
        """
        stages = range(len(box_predictors))
        statistics = statistics or [MatchStatistics(f"second_stage{k}") for k in stages]
        super().__init__(box_predictors=box_predictors, statistics=statistics[0], **kwargs)
        self.stage_statistics = list(statistics)
        if self.object_weight is not None:
            for predictor, own in zip(self.box_predictor, self.stage_statistics, strict=True):
                predictor.statistics = own

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """See :meth:`detectron2.modeling.roi_heads.CascadeROIHeads.from_config`."""
        ret = super().from_config(cfg, input_shape)
        ret.pop("statistics", None)
        if ret.get("object_weight") is not None:
            ret["statistics"] = [
                weighting_from_config(cfg, "second", substage=f"_stage{k}")["statistics"]
                for k in range(len(ret["box_predictors"]))
            ]
            ret["box_predictors"] = [
                weighted_predictor(cls.predictor_class, cfg, predictor)
                for predictor in ret["box_predictors"]
            ]
        return ret

    @torch.no_grad()
    def _match_and_label_boxes(
        self, proposals: list[Instances], stage: int, targets: list[Instances]
    ) -> list[Instances]:
        if self.object_weight is None:
            return super()._match_and_label_boxes(proposals, stage, targets)
        # Each object is a class of its own, beyond the background, so that stock says which one
        # a proposal matches.
        first = self.num_classes + 1
        apart = [
            with_fields(x, gt_classes=torch.arange(len(x), device=x.gt_classes.device) + first)
            for x in targets
        ]
        proposals = super()._match_and_label_boxes(proposals, stage, apart)
        counts = []
        for proposals_i, targets_i in zip(proposals, targets, strict=True):
            matched_idxs = proposals_i.gt_classes - first
            labels = (matched_idxs >= 0).to(torch.int8)
            matched_idxs = matched_idxs.clamp_(min=0)
            if len(targets_i):
                classes = targets_i.gt_classes[matched_idxs]
                proposals_i.gt_classes = torch.where(labels == 1, classes, self.num_classes)
            weights, counts_i = self._weigh(matched_idxs, labels, targets_i)
            proposals_i.set(WEIGHTS_FIELD, weights)
            counts.append(counts_i)
        statistics = self.stage_statistics[stage]
        if statistics.due():
            statistics.log_matches(torch.cat(counts))
        return proposals
