"""Detectron2's mapper with one clear sentence for an image that cannot be used."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import SizeMismatchError, read_image
from detectron2.utils.registry import Registry
from PIL import Image, UnidentifiedImageError

from scb_d2.errors import ConfigError, DataError

__all__ = [
    "MAPPER_REGISTRY",
    "CheckedDatasetMapper",
    "ImageError",
    "build_mapper",
    "readable_image_errors",
]

MAPPER_REGISTRY = Registry("MAPPER")
"""Mappers by the name that ``INPUT.MAPPER`` gives, called with ``(cfg, is_train)``."""


class ImageError(DataError):
    """An image file is missing, unreadable or of another size than annotated.

    A data loader's worker process re-raises errors with its whole traceback as the message; this
    one keeps the sentence.
    """

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):
            message = message.rpartition(f"{type(self).__name__}: ")[2].strip()
        super().__init__(message)


@contextmanager
def readable_image_errors(dataset_dict: dict[str, Any]) -> Iterator[None]:
    """Turn what can go wrong with the image of a record into one sentence.

    Args:
        dataset_dict: a record in Detectron2's format.

    Raises:
        ImageError: if the image is missing, unreadable or of another size than annotated.
    """
    file_name, image_id = dataset_dict.get("file_name"), dataset_dict.get("image_id")
    where = f"The image {file_name} (image_id {image_id!r})"
    try:
        yield
    except FileNotFoundError as error:
        raise ImageError(f"{where} does not exist.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{where} is no image of a known format.") from error
    except SizeMismatchError as error:
        height, width = read_image(file_name).shape[:2]
        annotated = f"{dataset_dict['width']} x {dataset_dict['height']}"
        raise ImageError(
            f"{where} is {width} x {height} pixels (turned as its EXIF tag asks) and is "
            f"annotated as {annotated}."
        ) from error
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{where} cannot be read: {reason.rstrip('.')}.") from error


@MAPPER_REGISTRY.register()
class CheckedDatasetMapper(DatasetMapper):
    """Detectron2's ``DatasetMapper`` that names the file when an image cannot be used.

    Same arguments, same output.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one record of a data set.

        Raises:
            ImageError: if its image is missing, unreadable or of another size than annotated.
        """
        with readable_image_errors(dataset_dict):
            return super().__call__(dataset_dict)


def build_mapper(cfg: CfgNode, is_train: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The mapper that ``INPUT.MAPPER`` names.

    Raises:
        ConfigError: if no mapper of that name is registered.
    """
    name = cfg.INPUT.MAPPER
    if name not in MAPPER_REGISTRY:
        known = ", ".join(sorted(known for known, _ in MAPPER_REGISTRY))
        raise ConfigError(f"INPUT.MAPPER must be one of {known}; got {name!r}.")
    return MAPPER_REGISTRY.get(name)(cfg, is_train)
