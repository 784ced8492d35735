"""Which evaluators a data set gets, and the requirements they have."""

import importlib.util
import os
import re
from collections.abc import Sequence
from importlib.machinery import ModuleSpec

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    LVISEvaluator,
    SemSegEvaluator,
)

from scb_d2.errors import ConfigError

from .coco_evaluator import SafeCOCOEvaluator
from .recall_evaluator import RecallBySizeEvaluator
from .voc_evaluator import VOCEvaluator
from .whole_files import WholeFiles

__all__ = ["build_evaluator", "check_evaluators", "max_dets_per_image", "results_folder"]

# evaluator_type -> (module, what to install)
_NEEDS = {
    "lvis": ("lvis", "lvis"),
    "coco_panoptic_seg": ("panopticapi", "panopticapi"),
    "cityscapes_instance": ("cityscapesscripts", "cityscapesscripts"),
    "cityscapes_sem_seg": ("cityscapesscripts", "cityscapesscripts"),
}
_TYPES = ("coco", "coco_panoptic_seg", "pascal_voc", "lvis", "sem_seg", *_NEEDS)


class _COCOPanopticEvaluator(WholeFiles, COCOPanopticEvaluator):
    pass


class _LVISEvaluator(WholeFiles, LVISEvaluator):
    pass


class _SemSegEvaluator(WholeFiles, SemSegEvaluator):
    pass


def evaluator_type(dataset_name: str) -> str:
    """Kind of evaluation of a registered data set, ``"coco"`` by default."""
    return MetadataCatalog.get(dataset_name).get("evaluator_type", "coco")


def check_evaluators(dataset_names: list[str]) -> None:
    """Check before training that every test data set can be evaluated.

    Raises:
        ConfigError: naming the data set, and the package that its evaluator lacks.
    """
    for name in dataset_names:
        kind = evaluator_type(name)
        if kind not in _TYPES:
            raise ConfigError(
                f"DATASETS.TEST: {name} has the unknown evaluator type {kind!r}; "
                f"allowed are {', '.join(sorted(set(_TYPES)))}."
            )
        module, package = _NEEDS.get(kind, (None, None))
        spec = importlib.util.find_spec(module) if module else None
        if module and spec is None:
            raise ConfigError(
                f"DATASETS.TEST: evaluating {name} needs the Python package {package}; install "
                "it, or train without evaluation by DATASETS.TEST '()'."
            )
        if kind == "lvis" and not _suits_numpy(spec):
            raise ConfigError(
                f"DATASETS.TEST: evaluating {name} needs a Python package lvis that suits NumPy "
                f"{np.__version__}, which has no np.float; install another, or train without "
                "evaluation by DATASETS.TEST '()'."
            )


def _suits_numpy(lvis: ModuleSpec) -> bool:
    """Whether the package's evaluation runs: its releases up to 0.5.3 need NumPy before 1.24."""
    path = os.path.join(os.path.dirname(lvis.origin or ""), "eval.py")
    if hasattr(np, "float") or not os.path.isfile(path):
        return True
    with open(path, encoding="utf-8") as file:
        return re.search(r"\bnp\.float\b", file.read()) is None


def build_evaluator(
    cfg: CfgNode, dataset_name: str, output_dir: str | None = None
) -> DatasetEvaluator:
    """Build the evaluator, or several as one, that suit a data set.

    Args:
        cfg: the whole config.
        dataset_name: a registered data set.
        output_dir: where predictions are written; by default :func:`results_folder` of
            ``OUTPUT_DIR/inference``.
    """
    inference = os.path.join(cfg.OUTPUT_DIR, "inference")
    output_dir = output_dir or results_folder(inference, cfg.DATASETS.TEST, dataset_name)
    evaluators = _dataset_evaluators(cfg, dataset_name, output_dir)
    if cfg.TEST.RECALL.ENABLED:
        evaluators.append(RecallBySizeEvaluator.from_config(cfg, dataset_name, output_dir))
    return evaluators[0] if len(evaluators) == 1 else DatasetEvaluators(evaluators)


def results_folder(folder: str, dataset_names: Sequence[str], dataset_name: str) -> str:
    """Where the results on a data set go: ``folder``, or one below it each where there are several.

    Their files have the same names.
    """
    return folder if len(dataset_names) < 2 else os.path.join(folder, dataset_name)


def _dataset_evaluators(cfg: CfgNode, name: str, output_dir: str) -> list[DatasetEvaluator]:
    kind = evaluator_type(name)
    if kind == "pascal_voc":
        return [VOCEvaluator(name, output_dir=output_dir)]
    if kind == "lvis":
        return [_LVISEvaluator(name, output_dir=output_dir)]
    if kind == "cityscapes_instance":
        return [CityscapesInstanceEvaluator(name)]
    if kind == "cityscapes_sem_seg":
        return [CityscapesSemSegEvaluator(name)]
    if kind == "sem_seg":
        return [_SemSegEvaluator(name, output_dir=output_dir)]
    coco = SafeCOCOEvaluator(
        name,
        output_dir=output_dir,
        max_dets_per_image=max_dets_per_image(cfg),
        kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
        backend=cfg.TEST.COCO_BACKEND,
    )
    if kind == "coco_panoptic_seg":
        panoptic = _COCOPanopticEvaluator(name, output_dir)
        return [_SemSegEvaluator(name, output_dir=output_dir), coco, panoptic]
    return [coco]


def max_dets_per_image(cfg: CfgNode) -> int:
    """The checked value of ``TEST.COCO_MAX_DETS_PER_IMAGE``.

    Raises:
        ConfigError: if it is below the limits that COCO's evaluation also takes, 1 and 10.
    """
    number = cfg.TEST.COCO_MAX_DETS_PER_IMAGE
    if number < 10:
        raise ConfigError(
            "TEST.COCO_MAX_DETS_PER_IMAGE must be at least 10, at which COCO also evaluates; got "
            f"{number}."
        )
    return number
