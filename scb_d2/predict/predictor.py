"""A model of a config, run on single images as its evaluation would run it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import instantiate
from detectron2.data import transforms as T
from detectron2.data.detection_utils import convert_PIL_to_numpy
from detectron2.structures import Instances
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from scb_d2.data.images import vanishes
from scb_d2.data.mapper import build_mapper
from scb_d2.engine.config.explain import explained
from scb_d2.engine.config.lazy import load_lazy_config, use_available_lazy_device
from scb_d2.engine.config.load import find_config_file, load_config
from scb_d2.engine.weights import load_weights
from scb_d2.errors import ConfigError, DataError
from scb_d2.evaluation.tiled_detection import (
    TileSettings,
    detect_in_tiles,
    lazy_tile_settings,
    tile_settings,
)
from scb_d2.modeling.build import build_model

from .categories import Categories, find_categories

__all__ = ["Predictor", "load_predictor"]


class Predictor:
    """Detections on images.

    In contrast to Detectron2's ``DefaultPredictor`` it runs the project's detectors, and takes the
    test transforms from the mapper that evaluation uses.
    """

    def __init__(
        self,
        model: nn.Module,
        mapper: Any,
        categories: Categories,
        tiles: TileSettings | None = None,
    ):
        """Take a model with its weights.

        Args:
            model: a detector.
            mapper: with ``augmentations`` and ``image_format`` as Detectron2's ``DatasetMapper``,
                and perhaps ``pixel_range``.
            categories: what the model's classes are.
            tiles: how images are cut; None: they are not.
        """
        self.model = model.eval()
        self.augmentations = mapper.augmentations
        self.image_format = mapper.image_format
        self.pixel_range = getattr(mapper, "pixel_range", ())
        self.categories = categories
        self.tiles = tiles

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> Instances:
        """Detect objects.

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            Detections in pixels of ``image``, on the CPU.

        Raises:
            ConfigError: if the model detects no objects (semantic segmentation, for example).
            DataError: if the image is so long that resizing leaves nothing of it.
        """
        if self.image_format != "RGB":
            image = convert_PIL_to_numpy(Image.fromarray(image), self.image_format)
        if self.tiles is None:
            return self._detect(image)
        return detect_in_tiles(self._detect, image, self.tiles)

    def _detect(self, image: np.ndarray) -> Instances:
        height, width = image.shape[:2]
        if vanishes((height, width), [self.augmentations]):
            raise DataError(
                f"an image of {width} x {height} pixels is so long that resizing leaves nothing "
                "of it."
            )
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


def load_predictor(config_file: str, opts: Sequence[str], weights: str) -> Predictor:
    """Build the model of a config and load its weights.

    Args:
        config_file: YAML or LazyConfig ``.py``; a path or a name of Detectron2's model zoo.
        opts: overrides, as for ``train_net.py``.
        weights: checkpoint, see :func:`scb_d2.engine.weights.load_weights`.

    Raises:
        UserError: one sentence that names the key or file.
    """
    path = find_config_file(config_file)
    if path.endswith(".py"):
        cfg = load_lazy_config(path, list(opts))
        use_available_lazy_device(cfg)
        model = explained(
            "the model", lambda c: instantiate(c.model).to(c.train.device), cfg, ("model",)
        )
        keys = [f"dataloader.{split}" for split in ("test", "train")]
        found = [OmegaConf.select(cfg, f"{key}.dataset.names") for key in keys]
        names = [name for names in found for name in _as_list(names)]
        mapper = OmegaConf.select(cfg, "dataloader.test.mapper")
        if mapper is None:
            raise ConfigError(f"{path} has no dataloader.test.mapper, which makes network input.")
        mapper, tiles = instantiate(mapper), lazy_tile_settings(cfg.train.tiles)
    else:
        cfg = load_config(path, opts)
        mapper, tiles = build_mapper(cfg, is_train=False), tile_settings(cfg)
        model = explained("the model", build_model, cfg, ("MODEL",))
        names = [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    load_weights(model, weights)
    return Predictor(model, mapper, find_categories(names), tiles)


def _as_list(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or ())
