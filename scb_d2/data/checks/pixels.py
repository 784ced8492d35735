"""What is said about the pixels of a data set's images, each of which is decoded."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from detectron2.data import MetadataCatalog
from tqdm import tqdm

from scb_d2.data.images import read_image
from scb_d2.data.reader.catalog import READ_KINDS, read_dataset, training_dicts
from scb_d2.data.reader.images import read_header, why_unreadable
from scb_d2.data.reader.tally import Finding, Rules, Tally
from scb_d2.errors import DataError

__all__ = ["pixel_findings"]

_RULES: Rules = {
    "broken-image": (
        "error",
        "names image files whose header is sound and whose pixels cannot be read",
    ),
}


def pixel_findings(name: str) -> list[Finding]:
    """Decode every image of a registered data set, as training does.

    Args:
        name: a registered name. Of a data set that cannot be read nothing is said, nor of images
            whose header is broken: the check of the data set names both.
    """
    tally = Tally(f"The data set {name!r}", _RULES)
    files = _image_files(name)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = pool.map(_why_broken, files)
        bar = tqdm(reasons, name, len(files), unit="image", disable=None)  # None: without terminal
        for path, reason in zip(files, bar, strict=True):
            if reason is not None:
                tally.add("broken-image", f"{path}: {reason}")
    return tally.findings()


def _image_files(name: str) -> list[str]:
    is_read = MetadataCatalog.get(name).get("evaluator_type", "coco") in READ_KINDS
    try:
        records = read_dataset(name).images if is_read else training_dicts(name)
    except DataError:
        return []
    if not isinstance(records, list):
        return []
    return list(dict.fromkeys(r["file_name"] for r in records if "file_name" in r))


def _why_broken(path: str) -> str | None:
    try:
        read_header(path)
    except OSError:
        return None
    try:
        read_image(path)
    except OSError as error:
        return why_unreadable(error)
    return None
