"""``MODEL.REFINEDET.*``."""

from detectron2.config import CfgNode

from scb_d2.projects.ssd import add_ssd_config

__all__ = ["add_refinedet_config"]


def add_refinedet_config(cfg: CfgNode) -> None:
    """Add RefineDet's keys, and SSD's that it shares, to a Detectron2 config, in place.

    Classes, anchors, image size, extra layers, mining and detection are ``MODEL.SSD``'s.

    Args:
        cfg: a config; adding the keys twice changes nothing.
    """
    add_ssd_config(cfg)
    if "REFINEDET" in cfg.MODEL:
        return
    node = CfgNode()
    # Initial scales of the L2 norms on conv4_3 and conv5_3.
    node.L2_NORM_SCALES = (10.0, 8.0)
    # Channels of the transfer connection blocks, and so of the maps that the ODM sees.
    node.TCB_CHANNELS = 256
    # `theta` in the RefineDet paper: anchors that the ARM gives a higher probability of background
    # are neither mined as negatives of the ODM nor detected. 1 keeps all.
    node.NEGATIVE_THRESH = 0.99
    cfg.MODEL.REFINEDET = node
