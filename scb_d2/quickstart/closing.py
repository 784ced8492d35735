"""What a quick start says at its end."""

import math
import os
import sys
from pathlib import Path

from detectron2.config import CfgNode

from scb_d2.utils.size_groups import SIZE_NAMES

from .pictures import CURVES_FILE, GRID_FILE

__all__ = ["MATCHES_FOLDER", "closing_block"]

MATCHES_FOLDER = "matches"

_LINE = "-" * 78
_METRICS = (
    ("AP", "all objects, IoU 0.50 to 0.95"),
    ("AP50", "all objects, IoU 0.50"),
    ("APs", "small, below 32 x 32 px"),
    ("APm", "medium, up to 96 x 96 px"),
    ("APl", "large, from 96 x 96 px"),
)


def closing_block(cfg: CfgNode, metrics: dict[str, dict[str, float]], taken: str) -> str:
    """What was made, where it is, and what to try next.

    Args:
        cfg: config of the finished run.
        metrics: of the first test set in percent, by task: ``"bbox"``, and ``"recall"`` where
            ``TEST.RECALL.ENABLED`` is set.
        taken: how long it took, and on what.
    """
    output = cfg.OUTPUT_DIR.rstrip("/")
    lines = [
        _LINE,
        f"Trained and evaluated {cfg.MODEL.META_ARCHITECTURE} in {taken}.",
        "",
        f"Average precision on {cfg.DATASETS.TEST[0]}, images it has not seen, in percent:",
        *(f"  {name:<5}{_percent(metrics['bbox'].get(name))}   {text}" for name, text in _METRICS),
        *_recall_lines(cfg, metrics.get("recall")),
        "",
        "Look at",
        f"  {output}/{MATCHES_FOLDER + '/matches.html':<21} anchors that each object matches",
        f"  {output}/{GRID_FILE:<21} detections against ground truth",
        f"  {output}/{CURVES_FILE:<21} losses, matches per object, loss by object size",
        f"  {output}/{'model_final.pth':<21} the weights; config.yaml beside them",
        "",
        "Try next",
        *_next_steps(cfg, output),
        _LINE,
    ]
    return "\n".join(lines)


def _recall_lines(cfg: CfgNode, recall: dict[str, float] | None) -> list[str]:
    if recall is None:
        return []
    lines = ["", f"Objects found (recall) at IoU {cfg.TEST.RECALL.IOU:g}, and what that costs:"]
    for threshold in cfg.TEST.RECALL.THRESHOLDS:
        found = ", ".join(
            f"{name} {_percent(recall.get(f'recall_{name}_{threshold:g}')).strip()} %"
            for name in SIZE_NAMES
            if recall.get(f"objects_{name}")
        )
        cost = recall[f"fp_per_image_{threshold:g}"]
        lines.append(f"  score >= {threshold:<5g}{found}; {cost:.1f} false positives per image")
    return lines


def _percent(value: float | None) -> str:
    missing = value is None or math.isnan(value)
    return "    -" if missing else f"{value:5.1f}"


def _next_steps(cfg: CfgNode, output: str) -> list[str]:
    python = _python()
    against_stock = [
        "  did the scale-balanced loss do anything here? The same with the stock loss, compared:",
        f"    {python} -m scb_d2 quickstart --against-stock --output {output}",
    ]
    return [
        *(against_stock if cfg.MODEL.SCB.ENABLED else ()),
        "  these weights on your own images:",
        f"    {python} -m scb_d2 predict --config-file {output}/config.yaml IMAGE... \\",
        f"        --output {output}_predictions",
        "  your own photographs, boxes in COCO or VOC format (README, docs/data.md):",
        f"    {python} train_net.py --config-file configs/laptop_retinanet_scb.yaml \\",
        "        DATASETS.REGISTER \"[{'NAME': 'mine', 'FORMAT': 'coco', \\",
        "        'JSON': 'train.json', 'IMAGES': 'images'}]\" DATASETS.TRAIN mine \\",
        "        DATASETS.TEST mine MODEL.RETINANET.NUM_CLASSES 3 OUTPUT_DIR output/mine",
        "  COCO, in the folder layout of Detectron2:",
        f"    DETECTRON2_DATASETS=/path/to/datasets {python} train_net.py \\",
        "        --config-file configs/retinanet_scb.yaml --num-gpus 8",
    ]


def _python() -> str:
    """The running Python, as short as it can be typed from here."""
    path = Path(sys.executable)
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
