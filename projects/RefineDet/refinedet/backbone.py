"""RefineDet's VGG16."""

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSDVGG

__all__ = ["build_refinedet_vgg_backbone"]

_NORMALISED = ("conv4_3", "conv5_3")


@BACKBONE_REGISTRY.register()
def build_refinedet_vgg_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> SSDVGG:
    """SSD's backbone without dilated resolution, with L2 norms on conv4_3 and conv5_3.

    pool5 halves the map and fc6 has padding and dilation 3 (repository sfzhang15/RefineDet).

    Args:
        cfg: ``MODEL.SSD`` and ``MODEL.REFINEDET`` are read.
        input_shape: of the image.

    Raises:
        ConfigError: if there are not two scales for the norms.
    """
    ssd, scales = cfg.MODEL.SSD, cfg.MODEL.REFINEDET.L2_NORM_SCALES
    if len(scales) != len(_NORMALISED):
        raise ConfigError(
            "MODEL.REFINEDET.L2_NORM_SCALES needs one number for each of "
            f"{' and '.join(_NORMALISED)}; got {scales}."
        )
    return SSDVGG(
        extra_layers=ssd.EXTRA_LAYERS,
        out_features=ssd.IN_FEATURES,
        l2_norm_scales=dict(zip(_NORMALISED, scales, strict=True)),
        width=ssd.VGG_WIDTH,
        dilated=False,
        in_channels=input_shape.channels,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=ssd.VGG_NORM,
    )
