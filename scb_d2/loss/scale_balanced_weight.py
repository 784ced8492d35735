"""From the matches of one image to a weight per anchor: the one object every detector is given."""

import torch
from detectron2.structures import Boxes
from torch import Tensor

from scb_d2.utils.arguments import check_choice, check_factor

from .matching import anchor_owners, count_owners
from .object_weights import FORMS, weights_of_counts

__all__ = ["ScaleBalancedWeight"]


class ScaleBalancedWeight:
    """Weights each positive anchor by the number of anchors its object matched.

    A detector's ``object_weight`` may be any callable with this signature. A form of one's own,
    by area for example, needs nothing but the matches and the boxes::

        def by_area(matched_idxs, anchor_labels, gt_boxes):
            return scb_d2.anchor_weights(matched_idxs, anchor_labels, 32 / gt_boxes.area().sqrt())
    """

    def __init__(self, form: str = "information", alpha: float = 1.0, beta: float = 3.0):
        """Check and keep the form and its parameters.

        Args:
            form: see :func:`scb_d2.object_weights`.
            alpha: see :func:`scb_d2.object_weights`.
            beta: see :func:`scb_d2.object_weights`.

        Raises:
            ConfigError: if one of them is not allowed.
        """
        self.form = check_choice(form, tuple(FORMS), "form")
        self.alpha = check_factor(alpha, "alpha")
        self.beta = check_factor(beta, "beta")

    @torch.no_grad()
    def __call__(
        self, matched_idxs: Tensor, anchor_labels: Tensor, gt_boxes: Boxes | Tensor
    ) -> Tensor:
        """Weigh the anchors of one image.

        Args:
            matched_idxs: (R,) int64 index of the object of each anchor.
            anchor_labels: (R,) 1 = positive, 0 = negative, -1 = ignored.
            gt_boxes: the G boxes of the image's objects, pixels. Only their number matters here.

        Returns:
            (R,) float32 weights, 1 on every anchor that is not positive.
        """
        # match_counts, object_weights and anchor_weights in one, which saves passes over anchors.
        num_objects = len(gt_boxes)
        owners = anchor_owners(matched_idxs, anchor_labels, num_objects)
        counts = count_owners(owners, num_objects, torch.float32)  # exact up to 2^24 anchors
        weights = weights_of_counts(counts, self.form, self.alpha, self.beta)
        weights[num_objects:].fill_(1)  # of anchors without an object
        return weights.index_select(0, owners)

    def __repr__(self) -> str:
        return f"ScaleBalancedWeight(form={self.form!r}, alpha={self.alpha}, beta={self.beta})"
