"""The match report before any training: which objects match how many anchors, and what follows.

``scb-d2 matches`` on the command line; here its parts for Python::

    report = match_report("configs/retinanet_scb.yaml", datasets=["coco_2017_val"])
    print(report.verdict.text)
    write_match_report(report, "matches")
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from scb_d2.errors import ConfigError, DataError
from scb_d2.loss.object_weights import PAPER_FORMS, ScaleBalancedWeight
from scb_d2.utils.files import atomic_write, rename_whole

from .anchors import AnchorGeometry
from .collect import SIZE_RULES, collect_matches
from .figures import draw_figures
from .network_input import AugmentedInput, InputRule, fixed_input, seeded
from .page import render_page
from .report import MatchReport, make_report
from .samples import draw_samples
from .setup import MatchSetup, load_all_records, load_setup
from .tally import ImageMatches, MatchTally
from .weight_shares import FormSums

__all__ = [
    "MatchReport",
    "MatchTally",
    "collect_matches",
    "make_report",
    "match_report",
    "write_match_report",
]


def match_report(
    config_file: str,
    opts: Sequence[str] = (),
    *,
    datasets: Sequence[str] = (),
    sizes: str = "input",
    input_size: str | int = "middle",
    augment: bool = False,
    seed: int = 0,
    max_images: int | None = None,
    max_listed: int = 1000,
    max_samples: int = 6,
    per_object: str | None = None,
    progress: bool = True,
) -> MatchReport:
    """Match every object of a config's training data to the anchors of its detector.

    No weights are loaded, no network runs and no image is decoded.

    Args:
        config_file: YAML or LazyConfig ``.py``; a path or a name of Detectron2's model zoo.
        opts: overrides, as for ``train_net.py``.
        datasets: registered names; the config's training data by default.
        sizes: ``"input"`` or ``"native"``, the pixels in which objects are small or large.
        input_size: see :func:`scb_d2.matches.network_input.fixed_input`.
        augment: draw the training augmentation instead of the fixed input size.
        seed: of the augmentation and of random samples.
        max_images: the first so many images only.
        max_listed: most objects in each list.
        max_samples: most images kept for drawing.
        per_object: file for a JSON object of annotation id to M, for one data set.
        progress: whether to show a progress bar on stderr.

    Raises:
        UserError: one sentence that names the key or file.
    """
    if sizes not in SIZE_RULES:
        raise ConfigError(f"sizes must be one of {', '.join(SIZE_RULES)}; got {sizes!r}.")
    if max_images is not None and max_images < 1:
        raise ConfigError(f"the number of images must be at least 1; got {max_images}.")
    setup = load_setup(config_file, list(opts))
    names = list(dict.fromkeys(datasets or setup.dataset_names))
    if not names:
        raise ConfigError("the config names no training data; give --dataset NAME.")
    if per_object is not None and len(names) > 1:
        raise ConfigError("--per-object needs one data set, since ids may repeat between several.")
    geometry = AnchorGeometry(setup.model)
    rule = _input_rule(setup, augment, input_size, seed, geometry.rotated)
    records, class_names = load_all_records(names)
    records = records[:max_images]
    form_sums = None
    if setup.form not in PAPER_FORMS:
        form_sums = FormSums(ScaleBalancedWeight(setup.form, setup.alpha, setup.beta))
    with seeded(seed), _object_file(per_object) as file:
        writer = None if file is None else _ObjectWriter(file)
        listeners = [x for x in (form_sums, writer) if x is not None]
        tally = collect_matches(
            tqdm(records, desc="matching", unit="image", disable=not progress, mininterval=0.5),
            geometry,
            rule,
            class_names,
            size_rule=sizes,
            max_listed=max_listed,
            max_samples=max_samples,
            seed=seed,
            on_image=lambda image: [listen(image) for listen in listeners],
        )
    if not tally.num_objects:
        raise DataError(f"{', '.join(names)}: no image has an object that training would keep.")
    about = {
        "config_file": str(config_file),
        "overrides": [str(opt) for opt in opts],
        "datasets": names,
        "architecture": type(setup.model).__name__,
        "scb_enabled": setup.enabled,
        "input": rule.description,
        "augmented": augment,
        "seed": seed,
    }
    return make_report(
        tally,
        geometry,
        about,
        size_rule=sizes,
        form=setup.form,
        alpha=setup.alpha,
        beta=setup.beta,
        further_sums=None if form_sums is None else {setup.form: form_sums.sums},
    )


def write_match_report(report: MatchReport, output_dir: str | Path) -> list[Path]:
    """Write ``matches.json``, ``matches.html`` and the figures ``matches_*.png``.

    Everything is written aside first and moved into place at the end, the page last.

    Args:
        report: from :func:`match_report`.
        output_dir: folder, made if needed. Figures of an earlier report there are replaced.

    Returns:
        The paths written, the page first.

    Raises:
        DataError: if the folder cannot be written.
    """
    output_dir = Path(output_dir)
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=".matches-", dir=output_dir))
    except OSError as error:
        raise DataError(f"cannot write to {output_dir}: {error.strerror}.") from error
    try:
        data = report.to_json()
        figures = draw_figures(data, aside)
        samples, notes = draw_samples(report.samples, aside)
        data |= {"figures": figures, "samples": samples, "notes": notes}
        (aside / "matches.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        page = render_page(data, figures | samples, aside, notes)
        (aside / "matches.html").write_text(page, encoding="utf-8")
        names = [*figures, *samples, "matches.json", "matches.html"]
        for stale in output_dir.glob("matches_sample_*.png"):
            stale.unlink()
        for name in names:
            rename_whole(aside / name, output_dir / name)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return [output_dir / name for name in reversed(names)]


def _input_rule(
    setup: MatchSetup, augment: bool, input_size: str | int, seed: int, rotated: bool
) -> InputRule:
    if not augment:
        return fixed_input(setup.augmentations, input_size, setup.object_aware, rotated)
    if input_size != "middle":
        raise ConfigError("an input size does not go with the random training augmentation.")
    words = ", ".join(type(a).__name__ for a in setup.augmentations) or "none"
    return AugmentedInput(
        setup.augmentations,
        f"training augmentation ({words}), seed {seed}",
        setup.object_aware,
        rotated,
    )


@contextlib.contextmanager
def _object_file(path: str | None) -> Iterator[TextIO | None]:
    """A JSON object of annotation id to M that appears once it is complete."""
    if path is None:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(atomic_write(path, encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot write {path}: {error.strerror}.") from error
        file.write("{")
        yield file
        file.write("\n}\n")


class _ObjectWriter:
    """Appends the objects of each image, so that they need not be kept."""

    def __init__(self, file: TextIO):
        self.file = file
        self.separator = "\n"

    def __call__(self, image: ImageMatches) -> None:
        for annotation_id, matches in zip(image.annotation_ids, image.counts, strict=True):
            self.file.write(f"{self.separator}{json.dumps(str(annotation_id))}: {int(matches)}")
            self.separator = ",\n"
