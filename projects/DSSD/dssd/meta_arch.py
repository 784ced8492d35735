"""DSSD as a Detectron2 meta-architecture."""

from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import FrozenBatchNorm2d, NaiveSyncBatchNorm
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.utils import comm
from torch import nn

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSD
from scb_d2.utils.arguments import check_choice

from .head import DSSDHead

__all__ = ["DSSD"]

_FREEZE = ("none", "encoder", "norm")


@META_ARCH_REGISTRY.register()
class DSSD(SSD):
    """Deconvolutional single-shot detector (Fu et al. 2017), plain or with the scale-balanced loss.

    It is SSD with another backbone and head, and with parts that a stage of its training freezes.
    Without a decoder in the backbone it is SSD321 or SSD513.
    """

    @configurable
    def __init__(self, *, freeze: str = "none", **ssd: Any):
        """Build the detector from its parts.

        Args:
            freeze: what is not trained: "none"; "encoder", see
                :meth:`.backbone.DSSDResNet.freeze_encoder`; or "norm", statistics and factors of
                every batch norm.
            ssd: the arguments of :class:`SSD`; the head is a :class:`DSSDHead`.

        Raises:
            ConfigError: if ``freeze`` is nothing of these.
        """
        super().__init__(**ssd)
        check_choice(freeze, _FREEZE, "MODEL.DSSD.FREEZE")
        if freeze == "encoder":
            self.backbone.freeze_encoder()
        elif freeze == "norm":
            for module in (self.backbone, self.head):
                FrozenBatchNorm2d.convert_frozen_batchnorm(module)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Build the parts from ``MODEL.DSSD`` and what :meth:`SSD.from_config` reads."""
        arguments = super().from_config(cfg)
        shapes = arguments["backbone"].output_shape()
        arguments["head"] = DSSDHead(cfg, [shapes[name] for name in cfg.MODEL.SSD.IN_FEATURES])
        arguments["freeze"] = cfg.MODEL.DSSD.FREEZE
        return arguments

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Any:
        """See :meth:`SSD.forward`.

        Raises:
            ConfigError: in training, if the batch norm of a 1x1 map would see a single value.
        """
        if self.training and len(batched_inputs) < 2 and self._has_batch_norm():
            raise ConfigError(
                "DSSD's batch norm needs at least 2 images per process, as its last map is 1 x 1; "
                "got 1: raise SOLVER.IMS_PER_BATCH, or set MODEL.DSSD.NORM to 'GN' or "
                "MODEL.DSSD.FREEZE to 'norm'."
            )
        return super().forward(batched_inputs)

    def _has_batch_norm(self) -> bool:
        """Whether there is one after the trunk, whose own maps are large enough."""
        # Across processes this one sees the images of all of them.
        synced = NaiveSyncBatchNorm if comm.get_world_size() > 1 else ()
        return any(
            isinstance(module, nn.BatchNorm2d)
            and not isinstance(module, synced)
            and not name.startswith("backbone.trunk.")
            for name, module in self.named_modules()
        )
