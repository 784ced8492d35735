"""Detectron2's mapper with one clear sentence for an image that cannot be used."""

from typing import Any

from detectron2.data import DatasetMapper
from detectron2.data.detection_utils import SizeMismatchError, read_image
from PIL import Image, UnidentifiedImageError

from ..errors import DataError

__all__ = ["CheckedDatasetMapper", "ImageError"]


class ImageError(DataError):
    """An image file is missing, unreadable or of another size than annotated.

    A data loader's worker process re-raises errors with its whole traceback as the message; this
    one keeps the sentence.
    """

    def __init__(self, message: str) -> None:
        if message.startswith("Caught "):
            message = message.rpartition(f"{type(self).__name__}: ")[2].strip()
        super().__init__(message)


class CheckedDatasetMapper(DatasetMapper):
    """Detectron2's ``DatasetMapper`` that names the file when an image cannot be used.

    Same arguments, same output.
    """

    def __call__(self, dataset_dict: dict[str, Any]) -> dict[str, Any]:
        """Map one record of a data set.

        Raises:
            ImageError: if its image is missing, unreadable or of another size than annotated.
        """
        file_name, image_id = dataset_dict.get("file_name"), dataset_dict.get("image_id")
        where = f"The image {file_name} (image_id {image_id!r})"
        try:
            return super().__call__(dataset_dict)
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
