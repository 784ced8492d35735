"""``MODEL.FSSD.*``."""

from detectron2.config import CfgNode

from scb_d2.projects.ssd import add_ssd_config

__all__ = ["add_fssd_config"]


def add_fssd_config(cfg: CfgNode) -> None:
    """Add FSSD's keys, and SSD's that it shares, to a Detectron2 config, in place.

    Classes, anchors, image size, layers after VGG16, mining and detection are ``MODEL.SSD``'s.

    Args:
        cfg: a config; adding the keys twice changes nothing.
    """
    add_ssd_config(cfg)
    if "FSSD" in cfg.MODEL:
        return
    node = CfgNode()
    # Maps that are fused, at the resolution of the first one.
    node.FUSED_FEATURES = ("conv4_3", "fc7", "conv7_2")
    # Channels that each fused map is reduced to.
    node.FUSION_CHANNELS = 256
    # Normalisation of the fused map, "" for none.
    node.FUSION_NORM = "BN"
    # Whether the corner pixels of a map stay in place when it is enlarged, as in Caffe's FSSD;
    # False is PyTorch's default today.
    node.ALIGN_CORNERS = True
    # Channels, kernel, stride and padding of the layers of the pyramid; their outputs are named
    # "p0", "p1", ... in MODEL.SSD.IN_FEATURES. Default: FSSD300.
    node.PYRAMID_LAYERS = (
        (512, 3, 1, 1),
        (512, 3, 2, 1),
        (256, 3, 2, 1),
        (256, 3, 2, 1),
        (256, 3, 1, 0),
        (256, 3, 1, 0),
    )
    cfg.MODEL.FSSD = node
