"""Real photographs: unmodified COCO through Detectron2's names, blood cells through the keys."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from detectron2.config import get_cfg
from detectron2.data import build_detection_train_loader

from scb_d2.config import add_scb_config
from scb_d2.data.checks.datasets import check_datasets
from scb_d2.data.mapper import CheckedDatasetMapper
from tests.data.builders import check_coco

# Detectron2 reads DETECTRON2_DATASETS when it is imported, hence a process of its own.
_COCO = """
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog
from scb_d2.data.checks import check_datasets
from scb_d2.config import add_scb_config
cfg = get_cfg()
add_scb_config(cfg)
cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("coco_2017_train",), ("coco_2017_val",)
cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
reports = check_datasets(cfg)
assert all(finding.severity == "note" for report in reports for finding in report.findings)
print([(r.num_images, r.num_annotations, len(DatasetCatalog.get(r.name))) for r in reports])
"""


def test_coco_photographs_through_detectron2s_own_names(
    shared_data: Path, repo_root: Path, tmp_path: Path
) -> None:
    paths = {"DETECTRON2_DATASETS": str(shared_data / "tiny_coco"), "PYTHONPATH": str(repo_root)}
    command = [sys.executable, "-W", "ignore", "-c", _COCO]
    done = subprocess.run(
        command, env=os.environ | paths, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "[(50, 470, 50), (50, 382, 50)]", done.stderr


def test_blood_cells_through_the_registration_keys(shared_data: Path) -> None:
    cfg = get_cfg()
    add_scb_config(cfg)
    root = shared_data / "bccd"
    entries = [
        {"NAME": f"cells_{split}", "FORMAT": "coco", "JSON": str(root / f"{split}.json")}
        | {"IMAGES": str(root / "images")}
        for split in ("trainval", "test")
    ]
    cfg.merge_from_list(["DATASETS.REGISTER", str(entries)])
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("cells_trainval",), ("cells_test",)
    cfg.MODEL.META_ARCHITECTURE = "RetinaNet"
    cfg.MODEL.RETINANET.NUM_CLASSES = 3
    cfg.INPUT.MIN_SIZE_TRAIN = (64,)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.SOLVER.IMS_PER_BATCH = 2
    train, test = check_datasets(cfg)
    assert train.classes == test.classes == ["RBC", "WBC", "Platelets"]
    assert (train.num_images, train.num_annotations) == (292, 3941)
    assert (test.num_images, test.num_annotations) == (72, 945)
    loader = build_detection_train_loader(cfg, mapper=CheckedDatasetMapper(cfg, True))
    assert all(len(item["instances"]) for item in next(iter(loader)))


@pytest.mark.parametrize("name", ["tiny_coco", "deeppcb"])
def test_other_real_annotation_files_have_no_error(shared_data: Path, name: str) -> None:
    files = {
        "tiny_coco": ("coco/annotations/instances_train2017.json", "coco/train2017"),
        "deeppcb": ("trainval.json", "images"),
    }
    json_file, images = (shared_data / name / part for part in files[name])
    report = check_coco(name, json_file, images)
    assert all(finding.severity == "note" for finding in report.findings)


def test_zero_height_boxes_as_in_train2017_do_not_stop_a_run(
    shared_data: Path, tmp_path: Path
) -> None:
    root = shared_data / "tiny_coco" / "coco"
    content = json.loads((root / "annotations/instances_train2017.json").read_text())
    for ann in content["annotations"][:2]:
        ann["bbox"][3] = 0.0
    (tmp_path / "train.json").write_text(json.dumps(content))
    report = check_coco("train", tmp_path / "train.json", root / "train2017")
    (warning,) = [f for f in report.findings if f.severity != "note"]
    assert (warning.severity, warning.code, warning.count) == ("warning", "empty-box", 2)
