"""A run, for those who do not have this package.

In goes the output folder of ``train_net.py``; out come a config and a checkpoint of plain
Detectron2 (``stock``), or one file that detects without Detectron2 (``traced``).
"""

from .stock import CHECKPOINT_FILE, CONFIG_FILE, export_run, left_out
from .traced import export_traced

__all__ = ["CHECKPOINT_FILE", "CONFIG_FILE", "export_run", "export_traced", "left_out"]
