"""A tiled data set on disk: the tiles' images and COCO JSON files."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from tqdm import tqdm

from scb_d2.data.reader.coco import read_coco
from scb_d2.data.reader.ground_truth import coco_of
from scb_d2.data.reader.images import one_kind_of_error, refuse_pipe, why_unreadable
from scb_d2.errors import ConfigError, DataError
from scb_d2.utils.files import staged_directory

from .slices import SlicedCoco, slice_coco
from .windows import check_tiles

__all__ = ["tile_dataset"]

_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
_WRITTEN_AS = {"MPO": "JPEG"}  # photographs of telephones: a JPEG and more


def tile_dataset(
    annotation_files: Sequence[str],
    image_root: str,
    output: str,
    *,
    size: int,
    overlap: float = 0.2,
    min_visibility: float = 0.5,
    keep_empty: bool = True,
    test_share: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, SlicedCoco]:
    """Cut data sets into tiles, each photograph's tiles into one part only.

    Writes `<name>.json` for every annotation file, or `train.json` and `test.json` with
    `test_share`, and the tiles below `images/`.

    Args:
        annotation_files: COCO JSON, of the same photographs' folder.
        image_root: folder of the images.
        output: folder, made if needed.
        size: see :func:`scb_d2.data.tiles.slices.slice_coco`, also for the next three.
        overlap: see there.
        min_visibility: see there.
        keep_empty: see there.
        test_share: share of the photographs of the only file that become the test part.
        seed: of that draw.
        progress: whether to show progress on stderr.

    Returns:
        The parts by name.

    Raises:
        UserError: an argument or a file is wrong; nothing is written then.
    """
    check_tiles(size, overlap, "--size", "--overlap")
    parts = _parts(annotation_files, image_root)
    if test_share is not None:
        parts = _split(parts, test_share, seed)
    _check_output(Path(output), parts, annotation_files, image_root)
    options = {"size": size, "overlap": overlap, "min_visibility": min_visibility}
    sliced = {name: slice_coco(p, keep_empty=keep_empty, **options) for name, p in parts.items()}
    tiles = [tile for part in sliced.values() for tile in part.data["images"]]
    if not tiles:
        raise DataError("no tile shows an object by the share that was asked for, so none is left.")
    sizes = {
        image["file_name"]: (int(image["width"]), int(image["height"]))
        for part in parts.values()
        for image in part["images"]
    }
    with staged_directory(output) as folder:
        _write_images(tiles, sizes, Path(image_root), folder / "images", progress)
        for name, part in sliced.items():
            text = json.dumps(part.data)
            (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return sliced


def _parts(files: Sequence[str], image_root: str) -> dict[str, dict[str, Any]]:
    parts: dict[str, dict[str, Any]] = {}
    owner: dict[str, str] = {}
    for file in files:
        name, records = Path(file).stem, read_coco(file, image_root)
        data = coco_of(records.refuse_faults())
        if name in parts:
            raise ConfigError(f"two of the annotation files are called {name}.json.")
        parts[name] = data
        for image in data["images"]:
            image["file_name"] = _file_name(image, file, image_root)
            first = owner.setdefault(image["file_name"], file)
            if first != file:
                raise DataError(
                    f"the photograph {image['file_name']} is in both {first} and {file}; its tiles "
                    "would be in both parts."
                )
    return parts


def _file_name(image: Mapping[str, Any], file: str, image_root: str) -> str:
    """The name from the folder of the images on."""
    name = os.path.relpath(image["file_name"], image_root)
    if os.pardir in Path(name).parts:
        raise DataError(
            f"{file}: the image {image['id']!r} needs a file_name below the folder of the "
            f"images; got {name!r}."
        )
    return name


def _split(parts: dict[str, dict[str, Any]], share: float, seed: int) -> dict[str, dict[str, Any]]:
    if len(parts) != 1:
        raise ConfigError("--test-share splits one annotation file; give one.")
    if not 0 < share < 1:
        raise ConfigError(f"--test-share must lie between 0 and 1; got {share!r}.")
    (data,) = parts.values()
    # By file: a photograph may be listed more than once.
    names = list(dict.fromkeys(image["file_name"] for image in data["images"]))
    number = min(max(round(share * len(names)), 1), len(names) - 1)
    if number < 1:
        raise DataError("a single photograph cannot be split into training and test.")
    drawn = set(random.Random(seed).sample(names, number))
    test = {image["id"] for image in data["images"] if image["file_name"] in drawn}
    return {
        name: {
            **data,
            "images": [i for i in data["images"] if (i["id"] in test) == in_test],
            "annotations": [a for a in data["annotations"] if (a["image_id"] in test) == in_test],
        }
        for name, in_test in (("train", False), ("test", True))
    }


def _check_output(
    output: Path, parts: Mapping[str, Any], annotation_files: Sequence[str], image_root: str
) -> None:
    """Refuse to write over what is read."""
    written = {(output / f"{name}.json").resolve() for name in parts}
    for file in annotation_files:
        if Path(file).resolve() in written:
            raise ConfigError(f"--output {output}: {file}, which is read, would be overwritten.")
    if (output / "images").resolve() == Path(image_root).resolve():
        raise ConfigError(
            f"--output {output}: the tiles would be written among the photographs in {image_root}."
        )


def _write_images(
    tiles: Sequence[Mapping[str, Any]],
    sizes: Mapping[str, tuple[int, int]],
    root: Path,
    folder: Path,
    progress: bool,
) -> None:
    by_source: dict[str, dict[str, Mapping[str, Any]]] = {}
    for tile in tiles:
        by_source.setdefault(tile["source_file_name"], {})[tile["file_name"]] = tile
    bar = tqdm(by_source.items(), desc="tiling", unit="image", disable=not progress)
    for name, own in bar:
        path = root / name
        try:
            refuse_pipe(path)
            with one_kind_of_error(), Image.open(path) as opened:
                kind = _WRITTEN_AS.get(opened.format, opened.format)
                image = ImageOps.exif_transpose(opened)
                image.load()
        except FileNotFoundError:
            raise DataError(f"the image {path} does not exist.") from None
        except OSError as error:
            raise DataError(f"the image {path} cannot be read: {why_unreadable(error)}.") from None
        if image.size != sizes[name]:
            width, height = sizes[name]
            raise DataError(
                f"the image {path} has {image.width} x {image.height} pixels, but its annotations "
                f"say {width} x {height}."
            )
        for tile in own.values():
            target = folder / tile["file_name"]
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                image.crop(tile["window"]).save(target, format=kind, **_OPTIONS.get(kind, {}))
            except (KeyError, ValueError, OSError) as error:
                raise DataError(
                    f"a tile of the image {path} cannot be written as {kind}: {error}."
                ) from None
