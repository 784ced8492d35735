"""What the matches of a training batch look like, for TensorBoard and ``metrics.json``."""

import logging

import torch
from detectron2.modeling.matcher import Matcher
from detectron2.utils import comm
from detectron2.utils.events import get_event_storage, has_event_storage
from detectron2.utils.logger import log_first_n
from torch import Tensor

from scb_d2.utils.size_groups import SIZE_NAMES, size_index

__all__ = ["MatchStatistics", "warn_if_all_positive"]


class MatchStatistics:
    """Logs match statistics of one stage as ``scb/<stage>/...`` to Detectron2's EventStorage.

    ``num_objects`` and ``unmatched`` (objects with M = 0) are counts of rank 0's batch;
    ``matches_p10|p50|p90`` percentiles of M over its objects; ``mean_weight`` the mean over
    positive anchors of the weight that the loss used; ``loss_share_input_small|medium|large`` the
    share of the weighted loss of positive anchors that objects of each size carry, by box area in
    network-input pixels (limits 32^2 and 96^2). A quantity without a value (no objects, no
    positives) is left out. Each ``put_scalar`` waits for the device, hence the period.
    """

    def __init__(self, stage: str = "first", period: int = 20, max_iter: int | None = None):
        """Keep name and schedule.

        Args:
            stage: name under ``scb/``.
            period: iterations between two entries.
            max_iter: length of the training, so that its last iteration is logged too.
        """
        self.prefix = f"scb/{stage}/"
        self.period = period
        self.max_iter = max_iter

    def due(self) -> bool:
        """Whether to log now: on rank 0 at a run's first and last iteration and every period."""
        if not comm.is_main_process() or not has_event_storage():
            return False
        storage = get_event_storage()
        now = storage.iter
        logged = (at for name, (_, at) in storage.latest().items() if name.startswith(self.prefix))
        # The same answer throughout an iteration: parts of it may be logged already.
        latest = max(logged, default=now)
        return latest == now or now % self.period == 0 or now + 1 == self.max_iter

    @torch.no_grad()
    def log(
        self, match_counts: Tensor, weights: Tensor, losses: Tensor, matched_gt_boxes: Tensor
    ) -> None:
        """Log the statistics of one batch.

        Args:
            match_counts: (G,) M of every object of the batch.
            weights: (P,) weight of every positive anchor as the loss used it.
            losses: (P,) weighted loss of every positive anchor.
            matched_gt_boxes: (P, 4) box of the object of every positive anchor, XYXY, or (P, 5)
                rotated, network-input pixels.
        """
        self.log_matches(match_counts)
        self.log_losses(weights, losses, matched_gt_boxes)

    @torch.no_grad()
    def log_matches(self, match_counts: Tensor) -> None:
        """Log what :meth:`log` does of matches alone, where no loss is at hand yet."""
        values = {
            "num_objects": float(len(match_counts)),
            "unmatched": float((match_counts == 0).sum()),
        }
        if len(match_counts):
            percents = match_counts.new_tensor([10, 50, 90]) / 100
            percentiles = match_counts.float().quantile(percents).tolist()
            names = ("matches_p10", "matches_p50", "matches_p90")
            values.update(zip(names, percentiles, strict=True))
        self._put(values)

    @torch.no_grad()
    def log_losses(self, weights: Tensor, losses: Tensor, matched_gt_boxes: Tensor) -> None:
        """Log what :meth:`log` does of weights and losses alone."""
        values = {}
        if len(weights):
            values["mean_weight"] = float(weights.mean())
        total = float(losses.sum())
        if total > 0:
            area = _areas(matched_gt_boxes)
            per_size = losses.new_zeros(len(SIZE_NAMES)).index_add_(0, size_index(area), losses)
            for size, loss in zip(SIZE_NAMES, per_size.tolist(), strict=True):
                values[f"loss_share_input_{size}"] = loss / total
        self._put(values)

    def _put(self, values: dict[str, float]) -> None:
        storage = get_event_storage()
        # Cascade R-CNN computes its losses in a name scope; nothing public leads out of one.
        scope, storage._current_prefix = storage._current_prefix, ""
        for name, value in values.items():
            storage.put_scalar(self.prefix + name, value)
        storage._current_prefix = scope


def _areas(boxes: Tensor) -> Tensor:
    if boxes.shape[1] == 5:  # rotated: centre, width, height, angle
        return boxes[:, 2] * boxes[:, 3]
    return (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)


def warn_if_all_positive(num_positive: int, num_anchors: int, anchor_matcher: Matcher) -> None:
    """Warn once if the positives of a batch are so many that an image must be all positive.

    Args:
        num_positive: positive anchors of the batch.
        num_anchors: anchors of one image.
        anchor_matcher: the matcher that labelled them.
    """
    if num_positive >= num_anchors and anchor_matcher.allow_low_quality_matches:
        log_first_n(
            logging.WARNING,
            f"{num_positive} positive anchors in one batch, where an image has {num_anchors}: an "
            "object that overlaps no anchor ties with all of them at IoU 0, and Detectron2's rule "
            "for low-quality matches then makes them all positive. Look at the data with "
            "`scb-d2 matches`, or set MODEL.SCB.LOW_QUALITY to 'reassign'.",
            n=1,
            name=__name__,
        )
