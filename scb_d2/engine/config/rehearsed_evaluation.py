"""The evaluation of a rehearsal: a detection, the evaluators without detections, the metrics."""

import difflib
import tempfile
from typing import Any

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.data import MetadataCatalog, get_detection_dataset_dicts
from detectron2.evaluation import (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOEvaluator,
    COCOPanopticEvaluator,
    DatasetEvaluator,
    DatasetEvaluators,
    LVISEvaluator,
    SemSegEvaluator,
)
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.modeling import GeneralizedRCNNWithTTA
from detectron2.structures import Instances
from torch import nn

from scb_d2.data.mapper import build_mapper
from scb_d2.engine.training.parts import Config, parts_of, run_settings
from scb_d2.errors import ConfigError

from .explain import Unexplained, explained
from .keys import keys_of, with_value
from .sample import TINY, first_that_works, in_small
from .settings import key_of

__all__ = ["rehearse_evaluation"]

_NEEDS_PREDICTIONS = (
    CityscapesInstanceEvaluator,
    CityscapesSemSegEvaluator,
    COCOPanopticEvaluator,
    LVISEvaluator,
    SemSegEvaluator,
)
"""Evaluators that cannot evaluate nothing."""

Detected = list[tuple[Any, Any] | None]
"""For each test data set the network input and the output, without objects, of an image."""


def rehearse_evaluation(cfg: Config, few: Config, model: nn.Module) -> None:
    """Try what the end of training, or ``--eval-only``, will do.

    Args:
        cfg: the whole config.
        few: the same on a few images.
        model: built from it, on the CPU.

    Raises:
        UserError: one sentence: what was made, from which keys, what it said.
    """
    yaml = ("TEST", "INPUT", "MODEL", "DATASETS.TEST")

    def detect(c: Config) -> Detected:
        return _detect(c, model if c is few else parts_of(c).build_model(c))

    keys = keys_of(few, yaml, ("dataloader.test", "model"))
    try:
        detected = explained("a detection", detect, few, keys, _detect_in_tiny)
    except Unexplained:  # random weights may overflow in what no others do
        detected = [None] * len(parts_of(cfg).evaluated_names(cfg))
    if isinstance(few, CfgNode) and few.TEST.AUG.ENABLED:
        keys = ("TEST.AUG", "MODEL.META_ARCHITECTURE", "INPUT.FORMAT")
        explained("test-time augmentation", lambda c: _augment(c, model), few, keys)
    keys = keys_of(cfg, ("TEST", "DATASETS.TEST"), ("dataloader.evaluator",))
    results = explained("the evaluation", lambda c: _evaluate(c, detected), cfg, keys)
    if results is not None:
        _check_metric(cfg, results)


def _detect(cfg: Config, model: nn.Module) -> Detected:
    model.eval()
    parts_of(cfg).evaluated_model(cfg, model)  # which may cut images into tiles
    found: Detected = []
    for inputs in (_test_input(cfg, name) for name in parts_of(cfg).evaluated_names(cfg)):
        if not inputs:
            found.append(None)
            continue
        output = _output_of_any_size(model, inputs[0])
        empty = {key: x[:0] if isinstance(x, Instances) else x for key, x in output.items()}
        found.append((inputs[0], empty))
    return found


def _detect_in_tiny(cfg: Config) -> None:
    model = parts_of(cfg).build_model(cfg).eval()
    parts_of(cfg).evaluated_model(cfg, model)
    for name in parts_of(cfg).evaluated_names(cfg):
        for image in _test_input(cfg, name)[:1]:
            _output(model, _whole(in_small(image, TINY)))


def _output_of_any_size(model: nn.Module, image: Any) -> dict[str, Any]:
    return first_that_works(  # what is right may be too small for the network
        lambda: _output(model, _whole(in_small(image))), lambda: _output(model, image)
    )


def _output(model: nn.Module, image: Any) -> dict[str, Any]:
    with torch.no_grad():
        return model([image])[0]


def _whole(small: dict[str, Any]) -> dict[str, Any]:
    """Input whose detections stay in its own pixels."""
    height, width = small["image"].shape[-2:]
    return {**small, "height": height, "width": width}


def _augment(cfg: CfgNode, model: nn.Module) -> None:
    for name in cfg.DATASETS.TEST if cfg.TEST.AUG.ENABLED else ():
        augmented = GeneralizedRCNNWithTTA(cfg, model)
        augmented.tta_mapper(_test_input(cfg, name)[0])


def _test_input(cfg: Config, name: str) -> list[Any]:
    """The mapper's output for each image; none where the loader is not Detectron2's."""
    if isinstance(cfg, CfgNode):
        if cfg.MODEL.LOAD_PROPOSALS:
            return []
        records, mapper = get_detection_dataset_dicts([name], False), build_mapper(cfg, False)
    else:
        loader = cfg.dataloader.test
        if not {"dataset", "mapper"} <= set(loader) or "names" not in loader.dataset:
            return []
        records, mapper = instantiate(loader.dataset), instantiate(loader.mapper)
    return [mapper(record) for record in records]


def _evaluate(cfg: Config, detected: Detected) -> dict[str, Any] | None:
    """Results by data set of a model that detects nothing; None where an evaluator gives none."""
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        cfg = with_value(cfg, key_of(cfg, "output_dir"), folder)
        for name, pair in zip(parts_of(cfg).evaluated_names(cfg), detected, strict=True):
            try:
                built = parts_of(cfg).build_evaluator(cfg, name)
            finally:
                _forget_file(name, folder)
            results[name] = {}
            for evaluator in _each(built):
                evaluator.reset()
                if pair is None or isinstance(evaluator, _NEEDS_PREDICTIONS):
                    return None
                results[name].update(_evaluate_nothing(evaluator, *pair) or {})
    return results


def _forget_file(name: str, folder: str) -> None:
    """Detectron2's COCO evaluator writes data sets without a file to one, and notes it for good."""
    metadata = MetadataCatalog.get(name)
    if str(metadata.get("json_file", "")).startswith(folder):
        del metadata.json_file


def _each(evaluator: DatasetEvaluator | list[DatasetEvaluator]) -> list[DatasetEvaluator]:
    if isinstance(evaluator, DatasetEvaluators):
        return list(evaluator._evaluators)
    return evaluator if isinstance(evaluator, list) else [evaluator]


def _evaluate_nothing(
    evaluator: DatasetEvaluator, inputs: Any, output: Any
) -> dict[str, Any] | None:
    evaluator.process([inputs], [output])
    if isinstance(evaluator, COCOEvaluator):  # of whose images one tells as much as all
        return evaluator.evaluate(img_ids=[inputs["image_id"]])
    return evaluator.evaluate()


def _check_metric(cfg: Config, results: dict[str, Any]) -> None:
    """Check that the metrics that the config names are among the results."""
    settings = run_settings(cfg)
    tasks = next(iter(results.values())) if len(results) == 1 else results
    known = sorted(flatten_results_dict(tasks))
    for expected in settings.expected_results:
        is_whole = isinstance(expected, (list, tuple)) and len(expected) == 4
        is_whole = is_whole and all(isinstance(value, int | float) for value in expected[2:])
        if not is_whole or f"{expected[0]}/{expected[1]}" not in known:
            raise ConfigError(
                f"TEST.EXPECTED_RESULTS must hold [task, metric, value, tolerance] of {known}; got "
                f"{expected!r}."
            )
    metric = settings.best_metric
    if metric and metric not in known:
        near = difflib.get_close_matches(metric, known, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]}?" if near else "."
        raise ConfigError(
            f"{key_of(cfg, 'best_metric')} is {metric}, which is none of the metrics of the "
            f"evaluation, {', '.join(known) or 'of which there are none'}{hint}"
        )
