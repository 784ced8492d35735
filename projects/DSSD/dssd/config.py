"""``MODEL.DSSD.*``."""

from detectron2.config import CfgNode

from scb_d2.projects.ssd import add_ssd_config

__all__ = ["add_dssd_config"]


def add_dssd_config(cfg: CfgNode) -> None:
    """Add DSSD's keys, and SSD's that it shares, to a Detectron2 config, in place.

    The trunk is ``MODEL.RESNETS``'s; classes, anchors, image size, mining and detection are
    ``MODEL.SSD``'s. The defaults are DSSD321.

    Args:
        cfg: a config; adding the keys twice changes nothing.
    """
    add_ssd_config(cfg)
    if "DSSD" in cfg.MODEL:
        return
    node = CfgNode()
    # Kernel and stride of the residual blocks res6, res7, ... after the trunk, which do not pad.
    node.EXTRA_BLOCKS = ((2, 2), (2, 2), (3, 1), (3, 1))
    # Factor on all numbers of channels after the trunk; below 1 for toys.
    node.WIDTH = 1.0
    # Kernel of the predictors of each level.
    node.PREDICTOR_KERNELS = (5, 5, 3, 3, 3, 3)
    # Channels of a convolution before each predictor, per level; empty: none.
    node.INTER_CHANNELS = ()
    # Normalisation after the trunk, in which MODEL.RESNETS.NORM stands.
    node.NORM = "BN"
    # What is not trained: "none", "encoder" (trunk and residual blocks, with their batch norms) or
    # "norm" (every batch norm, statistics and factors).
    node.FREEZE = "none"
    cfg.MODEL.DSSD = node
