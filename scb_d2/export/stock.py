"""From a run to what plain Detectron2 loads: a stock config and a checkpoint."""

import inspect
import os
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, LazyConfig, get_cfg, instantiate
from detectron2.modeling import build_model
from detectron2.utils.registry import Registry, locate
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import nn

from scb_d2.data.mapper import CheckedDatasetMapper
from scb_d2.data.rotated_mapper import RotatedDatasetMapper
from scb_d2.engine.config.safe_yaml import is_lazy_dump
from scb_d2.engine.config.yaml_errors import read_yaml, readable_merge_errors
from scb_d2.engine.run_folder import save_config
from scb_d2.errors import ConfigError
from scb_d2.evaluation.coco_evaluator import SafeCOCOEvaluator
from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher
from scb_d2.modeling.class_names import CLASS_KEYS
from scb_d2.modeling.stock_classes import is_twin, stock_class
from scb_d2.utils.files import atomic_write, make_output_folder
from scb_d2.utils.nested import value_at
from scb_d2.utils.tensors import load_tensors

__all__ = ["CHECKPOINT_FILE", "CONFIG_FILE", "export_run", "left_out", "stock_run"]

CONFIG_FILE = "config.yaml"
CHECKPOINT_FILE = "model_final.pth"

_BESIDE_MODELS = (
    CheckedDatasetMapper,
    RotatedDatasetMapper,
    SafeCOCOEvaluator,
    ScaleBalancedMatcher,
)
"""Parts of no model, which differ from their Detectron2 base in training or in messages only."""


def export_run(run: str, output: str, weights: str | None = None) -> tuple[str, str]:
    """Write the stock config and checkpoint of a run.

    The config has Detectron2's own keys and class names only, and ``MODEL.WEIGHTS`` (of a
    LazyConfig ``train.init_checkpoint``) names the exported checkpoint; the checkpoint holds
    the model alone. A stock model is built and loaded before anything is written.

    Args:
        run: output folder of ``train_net.py``, of a YAML config or a LazyConfig.
        output: folder to write into, made if absent; files of an earlier export are replaced.
        weights: checkpoint of the run; by default its final one, else its last.

    Returns:
        Paths of the config and of the checkpoint.

    Raises:
        ConfigError: if the run lacks a file, the model is none of Detectron2's, the checkpoint does
            not fit it, or the output is the run itself.
    """
    stock, model = stock_run(run, output, weights)
    exported = os.path.abspath(os.path.join(output, CHECKPOINT_FILE))
    if isinstance(stock, DictConfig):
        stock.train.init_checkpoint = exported
    else:
        stock.MODEL.WEIGHTS = exported
    make_output_folder(output)
    target = os.path.join(output, CONFIG_FILE)
    with atomic_write(exported, "wb") as file:
        torch.save({"model": model.state_dict()}, file)
        save_config(stock, target)
    return target, exported


def stock_run(
    run: str, output: str, weights: str | None = None
) -> tuple[CfgNode | DictConfig, nn.Module]:
    """The stock config of a run and its stock model with the run's weights, on the CPU.

    Args:
        run: as in :func:`export_run`.
        output: as in :func:`export_run`; checked, not written to.
        weights: as in :func:`export_run`.

    Raises:
        ConfigError: as in :func:`export_run`.
    """
    config = os.path.join(run, CONFIG_FILE)
    if not os.path.isdir(run):
        raise ConfigError(f"the run {run} does not exist or is no folder.")
    if not os.path.isfile(config):
        raise ConfigError(f"the run {run} has no {CONFIG_FILE}, which train_net.py writes.")
    if os.path.exists(output) and not os.path.isdir(output):
        raise ConfigError(f"--output {output} is a file; it must be a folder.")
    if os.path.realpath(run) == os.path.realpath(output):
        raise ConfigError(f"--output {output} is the run itself; choose another folder.")
    state = _model_state(weights or _checkpoint(run))
    stock, model = (_stock_lazy_config if is_lazy_dump(config) else _stock_config)(config)
    _check_fit(model, state, weights or run)
    model.load_state_dict(state)
    return stock, model


def left_out(run: str) -> list[str]:
    """What the run's own evaluation and prediction do with images and its export does not.

    Args:
        run: as in :func:`export_run`.

    Returns:
        A sentence for each such setting.
    """
    config = os.path.join(run, CONFIG_FILE)
    is_lazy = is_lazy_dump(config)
    cfg = LazyConfig.load(config) if is_lazy else read_yaml(config)
    settings = (
        (
            "dataloader.test.mapper.pixel_range" if is_lazy else "INPUT.PIXEL_RANGE",
            "images of more than 8 bits must be scaled by it to 0 to 255 before",
        ),
        (
            "train.tiles.size" if is_lazy else "TEST.TILES.SIZE",
            "it sees whole images, so that what the run finds in its tiles alone is not found",
        ),
    )
    return [
        f"{key} {list(value) if isinstance(value, Sequence) else value!r} is left out, which "
        f"Detectron2 does not have: {what_follows}."
        for key, what_follows in settings
        if (value := value_at(cfg, key))
    ]


def _checkpoint(run: str) -> str:
    final, last = (os.path.join(run, name) for name in (CHECKPOINT_FILE, "last_checkpoint"))
    if os.path.isfile(final):
        return final
    if os.path.isfile(last):
        with open(last, encoding="utf-8") as file:
            return os.path.join(run, file.read().strip())
    raise ConfigError(f"the run {run} has no checkpoint: neither {CHECKPOINT_FILE} nor a last one.")


def _model_state(path: str) -> dict[str, torch.Tensor]:
    if not os.path.isfile(path):
        raise ConfigError(f"the checkpoint {path} does not exist.")
    checkpoint = load_tensors(path)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("model"), dict):
        raise ConfigError(f"the checkpoint {path} holds no model; give one of train_net.py.")
    return checkpoint["model"]


def _check_fit(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    shapes = {name: value.shape for name, value in model.state_dict().items()}
    # Detectron2 keeps anchors and pixel statistics as buffers that are no part of a checkpoint.
    given = {name: value.shape for name, value in state.items()}
    for name in (*shapes, *given):
        if shapes.get(name) != given.get(name):
            raise ConfigError(
                f"the checkpoint of {source} does not fit the run's config: {name} has the shape "
                f"{_shape(given.get(name))}, but the model's is {_shape(shapes.get(name))}."
            )


def _shape(shape: torch.Size | None) -> str:
    return "(absent)" if shape is None else str(tuple(shape))


def _stock_config(path: str) -> tuple[CfgNode, nn.Module]:
    stock = get_cfg()
    with readable_merge_errors(stock, path):
        stock.merge_from_other_cfg(CfgNode(_known(read_yaml(path), stock)))
    for key, registry in CLASS_KEYS.items():
        group, _, name = f"MODEL.{key}".rpartition(".")
        node = stock.MODEL if group == "MODEL" else stock.MODEL[group.removeprefix("MODEL.")]
        if node[name]:
            node[name] = _stock_name(registry, node[name], f"MODEL.{key}")
    on_cpu = stock.clone()
    on_cpu.MODEL.DEVICE = "cpu"
    return stock, build_model(on_cpu)


def _known(loaded: dict[str, Any], stock: CfgNode) -> dict[str, Any]:
    """The part of a config that Detectron2 has keys for."""
    return {
        key: _known(value, stock[key]) if isinstance(stock[key], CfgNode) else value
        for key, value in loaded.items()
        if key in stock
    }


def _stock_name(registry: Registry, name: str, key: str) -> str:
    known = registry.get(name) if name in registry else None
    if _is_ours(known):
        return stock_class(known).__name__
    if known is None or not known.__module__.startswith("detectron2."):
        raise _no_counterpart(f"{key} {name!r}")
    return name


def _is_ours(known: object) -> bool:
    return known in _BESIDE_MODELS or is_twin(known)


def _no_counterpart(what: str) -> ConfigError:
    return ConfigError(
        f"{what} has no counterpart in plain Detectron2; runs of RetinaNet and R-CNN on its own "
        "backbones can be exported."
    )


def _stock_lazy_config(path: str) -> tuple[DictConfig, nn.Module]:
    cfg = LazyConfig.load(path)
    for key in ("best_metric", "best_mode", "patience", "tiles"):
        cfg.train.pop(key, None)
    _to_stock(cfg.model, "model")
    _to_stock(cfg.dataloader, "dataloader")
    return cfg, instantiate(cfg.model)


def _to_stock(node: Any, key: str) -> None:
    """Replace our classes by their bases in place, and drop the arguments that these lack."""
    if isinstance(node, ListConfig):
        for i, item in enumerate(node):
            _to_stock(item, f"{key}[{i}]")
    if not isinstance(node, DictConfig):
        return
    target = node.get("_target_")
    target = locate(target) if isinstance(target, str) else target
    if _is_ours(target):
        stock = stock_class(target)
        for name in _own_arguments(target, stock):
            node.pop(name, None)
        node._target_ = stock
    elif target is not None and inspect.getmodule(target).__name__.startswith("scb_d2"):
        raise _no_counterpart(f"{key} ({target.__name__})")
    for name in node:
        if name != "_target_" and not OmegaConf.is_interpolation(node, name):
            _to_stock(node[name], f"{key}.{name}")


def _own_arguments(ours: type, stock: type) -> set[str]:
    """Arguments of our constructors, bases of our own included, that the stock class lacks."""
    arguments = set()
    for base in ours.__mro__:
        if base.__module__.startswith("scb_d2"):
            arguments.update(inspect.signature(base.__init__).parameters)
    return arguments - set(inspect.signature(stock.__init__).parameters) - {"args", "kwargs"}
