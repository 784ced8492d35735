"""Weight of an object from the number of anchors it matched. Pure mathematics on tensors.

Shape shorthand: G objects of one image. M is the number of anchors an object matched, W its weight.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from scb_d2.utils.arguments import check_choice, check_factor

__all__ = ["FORMS", "object_weights"]

FORMS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "information": lambda m, alpha: (m.log() + alpha) / m,
    "inverse_sqrt": lambda m, alpha: m.rsqrt(),
    "inverse": lambda m, alpha: m.reciprocal(),
    "inverse_log": lambda m, alpha: (m.log() + alpha).reciprocal(),
    "uniform": lambda m, alpha: torch.ones_like(m),
}
"""The paper's table 1 as functions of (M >= 1, alpha), before the factor beta."""


@torch.no_grad()
def object_weights(
    match_counts: Tensor, form: str = "information", alpha: float = 1.0, beta: float = 3.0
) -> Tensor:
    """Weight of each object: ``beta * form(M, alpha)``.

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
        form: one of :data:`FORMS` (the paper's table 1): ``information`` (ln M + alpha) / M,
            ``inverse_sqrt`` 1 / sqrt(M), ``inverse`` 1 / M, ``inverse_log`` 1 / (ln M + alpha),
            ``uniform`` 1.
        alpha: finite, > 0. Used by the forms with a logarithm.
        beta: finite, > 0. Factor of every form.

    Returns:
        (G,) float32 weights on the device of ``match_counts``. An object with M = 0 gets the weight
        of M = 1; no anchor carries it.

    Raises:
        ConfigError: if ``form``, ``alpha`` or ``beta`` is not allowed.
    """
    check_choice(form, tuple(FORMS), "form")
    alpha, beta = check_factor(alpha, "alpha"), check_factor(beta, "beta")
    return weights_of_counts(match_counts, form, alpha, beta)


def weights_of_counts(match_counts: Tensor, form: str, alpha: float, beta: float) -> Tensor:
    """:func:`object_weights` of arguments that were checked before."""
    m = match_counts.clamp(min=1).to(torch.float32)
    return FORMS[form](m, alpha) * beta
