"""Whether a config fits the weights that it names."""

import logging

from detectron2.config import CfgNode
from detectron2.utils.logger import log_first_n

from scb_d2.errors import ConfigError

from .network import import_timm
from .weights import PREFIX

__all__ = ["check_weights_fit"]

_TOLERANCE = 2.0
"""Of mean and standard deviation, of 255: below it, sources state them differently."""


def check_weights_fit(cfg: CfgNode) -> None:
    """Check that ``MODEL.WEIGHTS``, where timm's, belong to ``MODEL.TIMM.NAME``.

    Warns once where images are normalised otherwise than for these weights.

    Raises:
        ConfigError: naming both.
    """
    name, weights = cfg.MODEL.TIMM.NAME, cfg.MODEL.WEIGHTS
    if not weights.startswith(PREFIX):
        return
    trained = weights.removeprefix(PREFIX)
    if trained.partition(".")[0] != name.partition(".")[0]:
        raise ConfigError(
            f"MODEL.WEIGHTS {weights} are of another network than MODEL.TIMM.NAME {name}."
        )
    timm = import_timm()
    if not timm.is_model_pretrained(trained):
        return  # a sentence of its own when they are loaded
    trained_cfg = timm.get_pretrained_cfg(trained)
    expected = {
        "MODEL.PIXEL_MEAN": [round(255 * x, 3) for x in trained_cfg.mean],
        "MODEL.PIXEL_STD": [round(255 * x, 3) for x in trained_cfg.std],
    }
    given = {"MODEL.PIXEL_MEAN": cfg.MODEL.PIXEL_MEAN, "MODEL.PIXEL_STD": cfg.MODEL.PIXEL_STD}
    fits = all(
        abs(a - b) <= _TOLERANCE
        for key in expected
        for a, b in zip(expected[key], given[key], strict=False)
    )
    if not fits or cfg.INPUT.FORMAT != "RGB":
        wanted = " ".join(f"{key} {value}" for key, value in expected.items())
        log_first_n(
            logging.WARNING,
            f"{weights} were trained with other pixels than the config gives: INPUT.FORMAT RGB "
            f"{wanted}.",
            n=1,
            key="message",
            name=__name__,
        )
