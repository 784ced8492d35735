"""From the matches of an image to a weight per object and per anchor.

Shape shorthand: R anchors of an image, G objects of it. M is the number of anchors an object
matched, W its weight.
"""

import math

import torch
from detectron2.structures import Boxes, RotatedBoxes
from detectron2.utils.registry import Registry
from torch import Tensor

from scb_d2.errors import ConfigError, UserError
from scb_d2.utils.arguments import check_factor
from scb_d2.utils.registered import check_registered

from .matching import anchor_owners, count_owners

__all__ = [
    "OBJECT_WEIGHT_REGISTRY",
    "PAPER_FORMS",
    "ScaleBalancedWeight",
    "check_form",
    "object_weights",
]

OBJECT_WEIGHT_REGISTRY = Registry("OBJECT_WEIGHT")
OBJECT_WEIGHT_REGISTRY.__doc__ = """
Registry for forms of the object weight, which ``MODEL.SCB.FORM`` names.

The registered function is called once per image as ``form(match_counts, gt_boxes, alpha)``:

* ``match_counts`` (G,) float32: M of each object of the image, at least 1; G may be 0
* ``gt_boxes``: the objects' G boxes, ``Boxes`` or ``RotatedBoxes``, network-input pixels
* ``alpha`` float: ``MODEL.SCB.ALPHA``

It returns (G,) weights of any float type, finite and not negative, on the device of
``match_counts``; they are multiplied by ``MODEL.SCB.BETA``. It must not wait for the device.
"""

PAPER_FORMS = ("information", "inverse_sqrt", "inverse", "inverse_log", "uniform")
"""The entries of the paper's table 1; they depend on M and alpha alone."""

_REFERENCE_AREA = 32.0**2
_LEAST_AREA = 2.0**2
_TRIED_SIDES = (0.5, 4.0, 32.0, 500.0, 5000.0)
_TRIED_COUNTS = (1.0, 2.0, 9.0, 100.0, 10000.0)


@OBJECT_WEIGHT_REGISTRY.register()
def information(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``(ln M + alpha) / M``: the scale-balanced weight, equation 3."""
    return (match_counts.log() + alpha) / match_counts


@OBJECT_WEIGHT_REGISTRY.register()
def inverse_sqrt(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``1 / sqrt(M)``."""
    return match_counts.rsqrt()


@OBJECT_WEIGHT_REGISTRY.register()
def inverse(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``1 / M``."""
    return match_counts.reciprocal()


@OBJECT_WEIGHT_REGISTRY.register()
def inverse_log(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``1 / (ln M + alpha)``."""
    return (match_counts.log() + alpha).reciprocal()


@OBJECT_WEIGHT_REGISTRY.register()
def uniform(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``1``: with beta 1 the stock loss, with another beta the control for beta alone."""
    return torch.ones_like(match_counts)


@OBJECT_WEIGHT_REGISTRY.register()
def log_area(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``ln(area) / (3 ln 32^2)``: large objects weigh more (Ben Saad et al., arXiv 2311.11714).

    The paper's weight is ``ln(area)``. Scaled so that an object of 32 x 32 pixels weighs 1/3, and
    so 1 under beta 3; ``information`` gives 0.33 to one of M = 10. Areas below 2 x 2 count as that.
    """
    return _areas(gt_boxes).log() / (3 * math.log(_REFERENCE_AREA))


@OBJECT_WEIGHT_REGISTRY.register()
def inverse_sqrt_area(match_counts: Tensor, gt_boxes: Boxes, alpha: float) -> Tensor:
    """``32 / (3 sqrt(area))``: by size itself instead of matches, scaled as :func:`log_area`."""
    return (_areas(gt_boxes) / _REFERENCE_AREA).rsqrt() / 3


def _areas(gt_boxes: Boxes | None) -> Tensor:
    if gt_boxes is None:
        raise ConfigError("a form by area needs the boxes of the objects, gt_boxes; got None.")
    return gt_boxes.area().float().clamp(min=_LEAST_AREA)


def check_form(form: object, name: str) -> str:
    """Return ``form`` if it is an entry of :data:`OBJECT_WEIGHT_REGISTRY`.

    Args:
        form: the name of an entry, or ``"module.entry"``: then the module, a file of the user's
            own, is imported first, as it would be from the current folder.
        name: of the argument or config key, for the message.

    Raises:
        ConfigError: if there is no such entry or its module cannot be imported.
    """
    return check_registered(form, OBJECT_WEIGHT_REGISTRY, name)


@torch.no_grad()
def object_weights(
    match_counts: Tensor,
    form: str = "information",
    alpha: float = 1.0,
    beta: float = 3.0,
    gt_boxes: Boxes | RotatedBoxes | None = None,
) -> Tensor:
    """Weight of each object of an image: ``beta * form(M, boxes, alpha)``.

    The default form is the scale-balanced weight of the paper (equation 3; natural logarithm)::

        W = beta * (ln M + alpha) / M

    With alpha 1 and beta 3 it falls strictly from M = 1 on, and what an object's anchors sum to,
    ``W * M = beta * (ln M + alpha)``, grows only with the logarithm of M:

    ====  =====  =====  =====  =====  =====  =====
    M     1      2      5      10     20     50
    W     3.000  2.540  1.566  0.991  0.599  0.295
    W M   3.000  5.079  7.828  9.908  11.99  14.74
    ====  =====  =====  =====  =====  =====  =====

    Args:
        match_counts: (G,) number of anchors each object matched, >= 0, any real dtype.
        form: an entry of :data:`OBJECT_WEIGHT_REGISTRY`. The paper's table 1: ``information``
            (ln M + alpha) / M, ``inverse_sqrt`` 1 / sqrt(M), ``inverse`` 1 / M, ``inverse_log``
            1 / (ln M + alpha), ``uniform`` 1. By area: ``log_area``, ``inverse_sqrt_area``.
        alpha: finite, > 0. Used by the forms with a logarithm of M.
        beta: finite, > 0. Factor of every form.
        gt_boxes: the objects' boxes, network-input pixels; forms by area need them.

    Returns:
        (G,) float32 weights on the device of ``match_counts``. An object with M = 0 gets the weight
        of M = 1; no anchor carries it.

    Raises:
        ConfigError: if ``form``, ``alpha`` or ``beta`` is not allowed, or the form does not return
            one weight per object.
    """
    return ScaleBalancedWeight(form, alpha, beta).of_objects(match_counts, gt_boxes)


class ScaleBalancedWeight:
    """Weights each positive anchor by its object: the one thing every detector is given.

    A detector's ``object_weight`` may be any callable with this signature that returns (R,) weights
    of any float type; :data:`OBJECT_WEIGHT_REGISTRY` is the shorter way to a form of one's own.
    """

    def __init__(self, form: str = "information", alpha: float = 1.0, beta: float = 3.0):
        """Check and keep the form and its parameters.

        Args:
            form: see :func:`object_weights`; also ``"module.entry"``, see :func:`check_form`.
            alpha: see :func:`object_weights`.
            beta: see :func:`object_weights`.

        The form is tried on objects of all kinds once, here, where it costs no iteration anything.

        Raises:
            ConfigError: if one of them is not allowed, or the form does not return a finite weight
                of at least 0 for each object.
        """
        self.form = check_form(form, "form")
        self.alpha = check_factor(alpha, "alpha")
        self.beta = check_factor(beta, "beta")
        with torch.device("cpu"):  # a model may be built where tensors hold no values
            self._try()

    def _try(self) -> None:
        sides, counts = torch.tensor(_TRIED_SIDES), torch.tensor(_TRIED_COUNTS)
        boxes = torch.cartesian_prod(sides, sides, counts)
        for objects in (boxes, boxes[:1], boxes[:0]):
            width, height, match_counts = objects.unbind(dim=1)
            corner = torch.full_like(width, 8.0)
            gt_boxes = Boxes(torch.stack([corner, corner, corner + width, corner + height], dim=1))
            try:
                weights = self.of_objects(match_counts, gt_boxes)
            except UserError:
                raise
            except Exception as error:  # whatever the user's function raises
                reason = " ".join(str(error).split()).rstrip(".")
                raise ConfigError(
                    f"the form {self.form!r} fails on {len(objects)} objects: "
                    f"{type(error).__name__}: {reason}."
                ) from error
            wrong = ~(torch.isfinite(weights) & (weights >= 0))
            if wrong.any():
                i = int(wrong.nonzero()[0])
                raise ConfigError(
                    f"the form {self.form!r} must return finite weights of at least 0; it gives "
                    f"{weights[i].item():g} to an object of {width[i]:g} x {height[i]:g} pixels "
                    f"with M {match_counts[i]:g}."
                )

    @torch.no_grad()
    def __call__(
        self, matched_idxs: Tensor, anchor_labels: Tensor, gt_boxes: Boxes | RotatedBoxes | Tensor
    ) -> Tensor:
        """Weigh the anchors of one image.

        Args:
            matched_idxs: (R,) int64 index of the object of each anchor.
            anchor_labels: (R,) 1 = positive, 0 = negative, -1 = ignored.
            gt_boxes: the G boxes of the image's objects, network-input pixels; a tensor is XYXY.

        Returns:
            (R,) float32 weights, 1 on every anchor that is not positive.
        """
        # match_counts and anchor_weights in one, which saves passes over anchors.
        num_objects = len(gt_boxes)
        owners = anchor_owners(matched_idxs, anchor_labels, num_objects)
        counts = count_owners(owners, num_objects, torch.float32)  # exact up to 2^24 anchors
        if isinstance(gt_boxes, Tensor):
            gt_boxes = Boxes(gt_boxes)
        weights = self.of_objects(counts[:-1], gt_boxes)
        return torch.cat([weights, weights.new_ones(1)]).index_select(0, owners)

    @torch.no_grad()
    def of_objects(
        self, match_counts: Tensor, gt_boxes: Boxes | RotatedBoxes | None = None
    ) -> Tensor:
        """Weigh the objects of one image, see :func:`object_weights`."""
        m = match_counts.clamp(min=1).to(torch.float32)
        form = OBJECT_WEIGHT_REGISTRY.get(self.form.rpartition(".")[2])
        weights = form(m, gt_boxes, self.alpha)
        if not isinstance(weights, Tensor) or weights.shape != m.shape:
            found = tuple(weights.shape) if isinstance(weights, Tensor) else repr(weights)
            raise ConfigError(
                f"the form {self.form!r} must return one weight per object, a tensor of shape "
                f"({len(m)},); got {found}."
            )
        return weights.to(torch.float32) * self.beta

    def __repr__(self) -> str:
        return f"ScaleBalancedWeight(form={self.form!r}, alpha={self.alpha}, beta={self.beta})"
