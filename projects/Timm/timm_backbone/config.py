"""``MODEL.TIMM.*``."""

from detectron2.config import CfgNode

__all__ = ["add_timm_backbone_config"]


def add_timm_backbone_config(cfg: CfgNode) -> None:
    """Add the keys of timm's backbones to a Detectron2 config, in place.

    ``MODEL.BACKBONE.FREEZE_AT``, ``MODEL.FPN`` and ``MODEL.WEIGHTS`` keep Detectron2's meaning.

    Args:
        cfg: a config; adding the keys twice changes nothing.
    """
    if "TIMM" in cfg.MODEL:
        return
    node = CfgNode()
    # The network, as `timm.list_models()` calls it.
    node.NAME = "tf_efficientnet_lite0"
    # Feature maps of it: "c<n>" has stride 2^n.
    node.OUT_FEATURES = ("c3", "c4", "c5")
    # What becomes of the network's batch norms: "BN" trains them, "FrozenBN" takes them as they
    # are in MODEL.WEIGHTS, "SyncBN" shares them between GPUs.
    node.NORM = "BN"
    # The map that P6 and P7 of RetinaNet's pyramid are made of: "p5", or the network's last ("c5").
    node.TOP_BLOCK_IN_FEATURE = "p5"
    cfg.MODEL.TIMM = node
