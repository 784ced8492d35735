"""LVIS by Detectron2's own registration: read by its package, looked at, and its evaluation."""

from __future__ import annotations

import importlib.util
import json
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.data.datasets.lvis import get_lvis_instances_meta, register_lvis_instances
from detectron2.structures import Boxes, BoxMode, Instances

from scb_d2.data.checks import check_dataset
from scb_d2.data.reader.catalog import load_through_reader
from scb_d2.errors import ConfigError
from scb_d2.evaluation.build import build_evaluator, check_evaluators
from scb_d2.projects import get_cfg
from tests.data.cases.builders import HEIGHT, OBJECTS, WIDTH, coco_content, write_images

NAME = "lvis_v1_tiny"


class _LVIS:
    """What Detectron2's loader uses of the package ``lvis``."""

    def __init__(self, path: str) -> None:
        content = json.loads(Path(path).read_text())
        self.imgs = {image["id"]: image for image in content["images"]}
        self.img_ann_map: dict[int, list[Any]] = {n: [] for n in self.imgs}
        for annotation in content["annotations"]:
            self.img_ann_map[annotation["image_id"]].append(annotation)

    def load_imgs(self, ids: list[int]) -> list[dict[str, Any]]:
        return [self.imgs[n] for n in ids]


@pytest.fixture
def tiny_lvis(tmp_path: Path) -> Path:
    """A folder in LVIS's layout whose data set is registered as :data:`NAME`."""
    content = coco_content()
    for image in content["images"]:
        name = image.pop("file_name")
        image |= {
            "coco_url": f"http://images.cocodataset.org/val2017/{name}",
            "neg_category_ids": [3],
            "not_exhaustive_category_ids": [],
        }
    write_images(tmp_path / "val2017")
    for category in content["categories"]:
        category["frequency"] = "f"
    (tmp_path / "lvis.json").write_text(json.dumps(content))
    meta = get_lvis_instances_meta("lvis_v1")
    register_lvis_instances(NAME, meta, str(tmp_path / "lvis.json"), f"{tmp_path}/")
    load_through_reader([NAME])
    return tmp_path


def test_lvis_is_read_by_its_own_package(tiny_lvis: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("lvis")
    package.LVIS = _LVIS
    monkeypatch.setitem(sys.modules, "lvis", package)
    report = check_dataset(NAME)
    assert report.findings == [] and len(report.classes) == 1203
    assert (report.num_images, report.num_annotations) == (4, sum(map(len, OBJECTS.values())))
    record = DatasetCatalog.get(NAME)[0]
    assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
    (tiny_lvis / "val2017" / "2.png").unlink()
    (finding,) = check_dataset(NAME).findings
    assert (finding.severity, finding.code, finding.count) == ("error", "missing-image", 1)


def test_lvis_without_its_package_is_one_sentence(
    tiny_lvis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lvis", None)
    (finding,) = check_dataset(NAME).findings
    assert finding.message == (
        f"The data set {NAME!r} needs the Python package lvis, which is not installed."
    )


@pytest.mark.parametrize(
    ("line", "suits"), [("x.astype(dtype=np.float)", False), ("x.astype(np.float64)", True)]
)
def test_an_lvis_package_that_needs_an_old_numpy_is_refused(
    line: str, suits: bool, tiny_lvis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not hasattr(np, "float")
    (tiny_lvis / "eval.py").write_text(f"import numpy as np\n\n\ndef f(x):\n    return {line}\n")
    spec = ModuleSpec("lvis", None, origin=str(tiny_lvis / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    if suits:
        check_evaluators([NAME])
        return
    with pytest.raises(ConfigError, match="needs a Python package lvis that suits NumPy"):
        check_evaluators([NAME])


def test_lvis_is_read_and_evaluated_with_the_real_package(
    tiny_lvis: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perfect detections have AP 100 where the package's evaluation suits NumPy, or is let."""
    pytest.importorskip("lvis", reason="the package lvis is not installed")
    if not hasattr(np, "float"):
        with pytest.raises(ConfigError, match="needs a Python package lvis that suits NumPy"):
            check_evaluators([NAME])
        monkeypatch.setattr(np, "float", float, raising=False)  # releases up to 0.5.3 ask for it
    check_evaluators([NAME])
    assert check_dataset(NAME).findings == []
    evaluator = build_evaluator(get_cfg(), NAME, str(tiny_lvis / "out"))
    evaluator.reset()
    for record in DatasetCatalog.get(NAME):
        objects = record["annotations"]
        found = Instances((record["height"], record["width"]))
        boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
        found.pred_boxes = Boxes(torch.tensor(boxes))
        found.scores = torch.ones(len(objects))
        found.pred_classes = torch.tensor([o["category_id"] for o in objects])
        evaluator.process([record], [{"instances": found}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)
