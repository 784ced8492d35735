"""The entries of ``DATASETS.REGISTER``: which keys they have, and what these may hold."""

from collections.abc import Sequence
from typing import Any

from scb_d2.errors import ConfigError

__all__ = ["FORMATS", "checked_entry"]

FORMATS = {
    "coco": (("JSON", "IMAGES"), ("KEYPOINTS", "FLIP_PAIRS")),
    "voc": (("DIR", "SPLIT"), ("CLASSES", "YEAR")),
    "yolo": (("DATA", "SPLIT"), ()),
}
"""For each ``FORMAT`` the keys that are needed beside NAME, and those that may be there."""


def checked_entry(where: str, entry: Any) -> dict[str, Any]:
    """An entry whose keys are known and of the right kind.

    Args:
        where: the entry in sentences, such as ``DATASETS.REGISTER[0]``.
        entry: what stands there.

    Raises:
        ConfigError: naming the key, what was found and what is allowed.
    """
    if not isinstance(entry, dict):
        raise ConfigError(f"{where} must be a dict with a NAME and a FORMAT, not {entry!r}.")
    layout = entry.get("FORMAT")
    if not isinstance(layout, str) or layout not in FORMATS:
        raise ConfigError(f"{where}.FORMAT must be one of {_spell(FORMATS)}, not {layout!r}.")
    needed, optional = FORMATS[layout]
    required = ("NAME", *needed)
    allowed = (*required, "FORMAT", *optional)
    for key in entry:
        if key not in allowed:
            raise ConfigError(
                f"{where} has the unknown key {key!r}; FORMAT {layout!r} allows "
                f"{', '.join(allowed)}."
            )
    for key in required:
        value = entry.get(key)
        if not isinstance(value, str) or not value:
            raise ConfigError(f"{where}.{key} must be a non-empty string, not {value!r}.")
    for key in ("CLASSES", "KEYPOINTS"):
        if key in entry and not _are_names(entry[key]):
            what = "class" if key == "CLASSES" else "keypoint"
            raise ConfigError(
                f"{where}.{key} must be a list of different {what} names, not {entry[key]!r}."
            )
    year = entry.get("YEAR", 2012)
    if year not in (2007, 2012) or not isinstance(year, int):
        raise ConfigError(f"{where}.YEAR must be 2007 or 2012, not {year!r}.")
    _check_flip_pairs(where, entry)
    return entry


def _check_flip_pairs(where: str, entry: dict[str, Any]) -> None:
    pairs, names = entry.get("FLIP_PAIRS", ()), entry.get("KEYPOINTS", ())
    sound = isinstance(pairs, list | tuple) and all(
        _are_names(pair) and len(pair) == 2 and set(pair) <= set(names) for pair in pairs
    )
    if not sound:
        raise ConfigError(
            f"{where}.FLIP_PAIRS must be a list of pairs of names of KEYPOINTS, such as "
            f"[[left_eye, right_eye]], not {pairs!r}."
        )


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(name, str) and name for name in value)
        and len(set(value)) == len(value)
    )


def _spell(names: Sequence[str] | dict[str, Any]) -> str:
    *most, last = map(repr, names)
    return f"{', '.join(most)} and {last}"
