from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

TINY_MODEL = {
    "WEIGHTS": "",
    "RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64},
    "FPN": {"OUT_CHANNELS": 16},
    "RETINANET": {"NUM_CLASSES": 4, "NUM_CONVS": 1},
}

LAZY = """
from detectron2.layers import ShapeSpec
from detectron2.model_zoo import get_config
from scb_d2.data.registration import register_shapes

register_shapes({root!r}, 64, 8, 4)
cfg = get_config("COCO-Detection/retinanet_R_50_FPN_1x.py")
model, optimizer, lr_multiplier = cfg.model, cfg.optimizer, cfg.lr_multiplier
dataloader, train = cfg.dataloader, cfg.train
model.num_classes = 4
model.head.conv_dims = [16]
model.head.input_shape = [ShapeSpec(channels=16)] * 5
model.backbone.out_channels = 16
model.backbone.top_block.in_channels = 512
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
dataloader.train.dataset.names = "shapes_train"
dataloader.test.dataset.names = "shapes_val"
dataloader.train.mapper.augmentations[0].short_edge_length = [64]
dataloader.test.mapper.augmentations[0].short_edge_length = 64
dataloader.train.num_workers = dataloader.test.num_workers = 0
dataloader.train.total_batch_size = 2
optimizer.lr = 1e-4
train.update(
    init_checkpoint="", max_iter=4, eval_period=2, checkpointer=dict(period=2, max_to_keep=9),
    output_dir={output!r}, seed=1, best_metric="bbox/AP",
)
"""


@pytest.fixture(scope="session")
def shapes_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which the tiny shapes of these tests are made once."""
    return tmp_path_factory.mktemp("shapes")


@pytest.fixture
def tiny_yaml(tmp_path: Path, repo_root: Path, shapes_root: Path) -> Path:
    """RetinaNet+SCB on a few 64 px images: four iterations, two evaluations, OUTPUT_DIR run."""
    config = {
        "_BASE_": str(repo_root / "configs" / "retinanet_scb.yaml"),
        "MODEL": TINY_MODEL,
        "DATASETS": {
            "TRAIN": ["shapes_train"],
            "TEST": ["shapes_val"],
            "SYNTHETIC": {
                "ROOT": str(shapes_root),
                "IMAGE_SIZE": 64,
                "TRAIN_IMAGES": 8,
                "VAL_IMAGES": 4,
            },
        },
        "INPUT": {"MIN_SIZE_TRAIN": [64], "MIN_SIZE_TEST": 64},
        "SOLVER": {
            "IMS_PER_BATCH": 2,
            "BASE_LR": 0.0001,
            "MAX_ITER": 4,
            "STEPS": [],
            "WARMUP_ITERS": 0,
            "CHECKPOINT_PERIOD": 2,
        },
        "TEST": {"EVAL_PERIOD": 2},
        "DATALOADER": {"NUM_WORKERS": 0},
        "OUTPUT_DIR": str(tmp_path / "run"),
        "SEED": 1,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture
def tiny_lazy(tmp_path: Path, shapes_root: Path) -> Path:
    """The same as a LazyConfig, stock RetinaNet."""
    path = tmp_path / "tiny.py"
    path.write_text(LAZY.format(root=str(shapes_root), output=str(tmp_path / "run")))
    return path


@pytest.fixture
def start(repo_root: Path, tmp_path: Path) -> Callable[..., subprocess.Popen]:
    """Start a Python command line as a process of its own, stdout and stderr as text."""

    def start_process(*command: str) -> subprocess.Popen:
        path = os.pathsep.join([str(repo_root), str(tmp_path)])
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start_process
