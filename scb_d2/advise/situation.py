"""A config and its data with what was counted of them; what every finding starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scb_d2.errors import ConfigError, DataError
from scb_d2.matches.anchors import AnchorGeometry
from scb_d2.matches.setup import MatchSetup, load_all_records, load_setup

from .finding import Change
from .lazy_settings import LazySettings
from .measure import (
    DataCounts,
    MatchCounts,
    check_upright,
    count_data,
    count_matches,
    find_geometry,
)
from .settings import YamlSettings, load_settings

__all__ = ["Matched", "Situation", "load_situation"]


@dataclass(frozen=True)
class Matched:
    """Matches under a config, and the detector that made them."""

    counts: MatchCounts
    geometry: AnchorGeometry


@dataclass(frozen=True)
class Situation:
    """What findings look at.

    Attributes:
        config_file: as the user named it.
        opts: the user's overrides.
        settings: of the config.
        setup: of the config.
        data: every object.
        dataset_names: what is trained on.
        matched: matches on a sample of the images; None where the detector matches no anchors.
        num_sampled: images of that sample.
        match_again: matches of the same sample under a config with other values.
    """

    config_file: str
    opts: tuple[str, ...]
    settings: YamlSettings | LazySettings
    setup: MatchSetup
    data: DataCounts
    dataset_names: tuple[str, ...]
    matched: Matched | None
    num_sampled: int
    match_again: Callable[[Sequence[Change], str], Matched]


def load_situation(
    config_file: str,
    opts: Sequence[str] = (),
    *,
    datasets: Sequence[str] = (),
    max_images: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> Situation:
    """Load a config, read the annotations of its training data and count.

    Args:
        config_file: YAML or LazyConfig ``.py``; a path or a name of Detectron2's model zoo.
        opts: overrides, as for ``train_net.py``.
        datasets: registered names; the config's training data by default.
        max_images: most images that are matched, drawn at random; all are read.
        seed: of that draw.
        progress: whether to show progress on stderr.

    Raises:
        UserError: one sentence that names the key or file.
    """
    if max_images < 1:
        raise ConfigError(f"the number of images must be at least 1; got {max_images}.")
    setup = load_setup(config_file, list(opts))
    check_upright(setup.model)
    names = tuple(dict.fromkeys(datasets or setup.dataset_names))
    if not names:
        raise ConfigError("the config names no training data; give --dataset NAME.")
    records, class_names = load_all_records(names)
    data = count_data(records, setup, class_names)
    if not len(data):
        raise DataError(f"{', '.join(names)}: no image has an object that training would keep.")
    drawn = _draw(np.unique(data.image), max_images, seed)
    sample = [records[i] for i in drawn]

    def match(other: MatchSetup, what: str) -> Matched | None:
        geometry = find_geometry(other)
        if geometry is None:
            return None
        counts = count_matches(sample, other, geometry, what=what, progress=progress)
        return Matched(counts, geometry)

    # Before the settings: the backbone moves to the meta device.
    settings = load_settings(config_file, opts, setup.model)

    def match_again(changes: Sequence[Change], what: str) -> Matched:
        overrides = [*opts, *settings.overrides(changes)]
        again = match(load_setup(config_file, overrides), what)
        if again is None:
            raise ConfigError("the changed config matches no anchors.")
        return again

    return Situation(
        config_file=str(config_file),
        opts=tuple(map(str, opts)),
        settings=settings,
        setup=setup,
        data=data,
        dataset_names=names,
        matched=match(setup, "matching"),
        num_sampled=len(sample),
        match_again=match_again,
    )


def _draw(images: Any, most: int, seed: int) -> list[int]:
    """Some of the images that hold objects, in their order."""
    if len(images) > most:
        images = np.random.default_rng(seed).choice(images, most, replace=False)
    return sorted(images.tolist())
