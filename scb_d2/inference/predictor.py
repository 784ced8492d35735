"""A model of a config, run on single images as its evaluation would run it."""

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.structures import Instances

from ..data.mapper import build_mapper
from ..errors import ConfigError
from ..modeling.build import build_model
from .weights import load_weights

__all__ = ["Predictor"]


class Predictor:
    """Detections on images.

    In contrast to Detectron2's ``DefaultPredictor`` it builds the project's detectors, takes the
    test transforms from the mapper that evaluation uses, and refuses weights that do not fit.
    """

    def __init__(self, cfg: CfgNode, weights: str):
        """Build the model and load its weights.

        Args:
            cfg: a config from :func:`scb_d2.engine.setup.load_config`.
            weights: checkpoint, see :func:`scb_d2.inference.weights.load_weights`.

        Raises:
            ConfigError: if the weights do not fit.
        """
        mapper = build_mapper(cfg, is_train=False)
        self.augmentations = mapper.augmentations
        self.image_format = mapper.image_format
        self.model = build_model(cfg).eval()
        load_weights(self.model, weights)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Instances:
        """Detect objects.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Detections in pixels of ``image``, on the CPU.

        Raises:
            ConfigError: if the model detects no objects (semantic segmentation, for example).
        """
        height, width = image.shape[:2]
        if self.image_format == "BGR":
            image = image[:, :, ::-1]
        aug_input = T.AugInput(image)
        self.augmentations(aug_input)
        pixels = np.ascontiguousarray(aug_input.image.transpose(2, 0, 1))
        inputs = {"image": torch.as_tensor(pixels), "height": height, "width": width}
        outputs = self.model([inputs])[0]
        if "instances" not in outputs:
            raise ConfigError(
                f"the model of the config detects no objects: its outputs are {', '.join(outputs)}."
            )
        return outputs["instances"].to("cpu")
