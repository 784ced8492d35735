"""Inputs that are wrong, by the name of what is wrong, for the command line.

Each case writes what it needs into the current folder, which holds a sound data set in ``coco/``, a
RetinaNet config ``good.yaml`` on it, its results ``results.json`` and a run's folder ``run/``, and
returns the command line.
"""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import yaml

from tests.data.builders import write_coco
from tests.faults.runs import REPO_ROOT

Case = Callable[[], list[str]]

CHECK = ["check", "--config-file"]
RECALL = ["recall", "results.json", "coco/a.json"]

GOOD = {
    "_BASE_": str(REPO_ROOT / "configs" / "retinanet_scb.yaml"),
    "MODEL": {
        "DEVICE": "cpu",
        "RESNETS": {"STEM_OUT_CHANNELS": 4, "RES2_OUT_CHANNELS": 8, "WIDTH_PER_GROUP": 4},
        "FPN": {"OUT_CHANNELS": 8},
        "RETINANET": {"NUM_CLASSES": 2, "NUM_CONVS": 1},
    },
    "DATASETS": {
        "REGISTER": [
            {"NAME": "mine", "FORMAT": "coco", "JSON": "coco/a.json", "IMAGES": "coco/images"}
        ],
        "TRAIN": ["mine"],
        "TEST": [],
    },
}
RESULTS = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12], "score": 0.5}]


def write_good_inputs() -> None:
    """Write the sound files that the cases change or name."""
    write_coco(Path("coco"))
    Path("good.yaml").write_text(yaml.safe_dump(GOOD))
    Path("results.json").write_text(json.dumps(RESULTS))
    Path("run").mkdir()


def _config(text: str) -> Case:
    """`check` on a config file of this text."""

    def case() -> list[str]:
        Path("config.yaml").write_text(text)
        return [*CHECK, "config.yaml"]

    return case


def _options(*opts: str) -> Case:
    """`check` on the good config with overrides."""
    return lambda: [*CHECK, "good.yaml", *opts]


def _train(*opts: str, config: str = "good.yaml") -> Case:
    """`train_net.py`, in a folder that must not be there afterwards."""
    return lambda: ["train_net.py", "--config-file", config, "OUTPUT_DIR", "out", *opts]


def _train_rcnn(*opts: str) -> Case:
    """The same of a two-stage detector."""
    config = str(REPO_ROOT / "configs" / "faster_rcnn_scb.yaml")
    data = ["DATASETS.REGISTER", str(GOOD["DATASETS"]["REGISTER"]), "DATASETS.TRAIN", "mine"]
    common = ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *data, "DATASETS.TEST", "()"]
    return _train(*common, *opts, config=config)


def _train_ssd(name: str, *opts: str) -> Case:
    """The same of a detector of the SSD family, by its toy config."""
    return _train("MODEL.DEVICE", "cpu", *opts, config=str(REPO_ROOT / "projects" / name))


def _pipe(case: Case) -> Case:
    """The same where one of the images is a pipe, which nobody writes into."""

    def with_pipe() -> list[str]:
        Path("coco/images/b.png").unlink()
        os.mkfifo("coco/images/b.png")
        return case()

    return with_pipe


def _lazy(text: str, *opts: str) -> Case:
    """`check` on a LazyConfig of this text."""

    def case() -> list[str]:
        Path("config.py").write_text(text)
        return [*CHECK, "config.py", *opts]

    return case


def _results(content: object, *flags: str) -> Case:
    """`recall` on these results; text is written as it is."""

    def case() -> list[str]:
        text = content if isinstance(content, str) else json.dumps(content)
        Path("results.json").write_text(text)
        return [*RECALL, *flags]

    return case


def _result(**changes: object) -> Case:
    changed = {**RESULTS[0], **changes}
    return _results([{key: value for key, value in changed.items() if value is not None}])


def _weights(name: str, content: object, *, pickled: bool = False) -> Case:
    """`predict` with this file of weights."""

    def case() -> list[str]:
        if isinstance(content, bytes):
            Path(name).write_bytes(content)
        elif pickled:
            Path(name).write_bytes(pickle.dumps(content))
        else:
            torch.save(content, name)
        common = ["--config-file", "good.yaml", "--output", "out", "--weights", name]
        return ["predict", "coco/images/a.png", *common]

    return case


def _predict(*words: str) -> Case:
    return lambda: ["predict", *words]


def _compare(*words: str) -> Case:
    return lambda: ["compare", *words]


_PREDICT = ("--config-file", "good.yaml", "--output", "out")

CASES: dict[str, Case] = {
    # config files
    "config missing": lambda: [*CHECK, "none.yaml"],
    "config is a folder": lambda: [*CHECK, "run"],
    "config empty": _config(""),
    "config a list": _config("- 1\n"),
    "config a text": _config("words\n"),
    "config not YAML": _config("MODEL: [1\n"),
    "config with a tab": _config("MODEL:\n\tDEVICE: cpu\n"),
    "config twice nested": _config("MODEL: {SCB: {ENABLED: {A: 1}}}\n"),
    "config runs code": _config("A: !!python/object/apply:os.system ['true']\n"),
    "config evaluates code": _config("A: !!python/object/apply:eval [\"open('x')\"]\n"),
    "base missing": _config("_BASE_: none.yaml\n"),
    "base itself": _config("_BASE_: config.yaml\n"),
    "key misspelt": _config("MODEL: {SCB: {ENABLE: True}}\n"),
    "key of numbers": _config("MODEL: {3: 4}\n"),
    # values
    "no value": _options("MODEL.SCB.ALPHA"),
    "flag after overrides": _options("SEED", "1", "--strict"),
    "alpha nan": _options("MODEL.SCB.ALPHA", "nan"),
    "beta zero": _options("MODEL.SCB.BETA", "0"),
    "form unknown": _options("MODEL.SCB.FORM", "informative"),
    "stage unknown": _options("MODEL.SCB.STAGES", "third"),
    "losses empty": _options("MODEL.SCB.LOSSES", "()"),
    "text for a number": _options("SOLVER.MAX_ITER", "many"),
    "group for a value": _options("MODEL.SCB", "1"),
    # data sets
    "set unknown": _options("DATASETS.TRAIN", "mime"),
    "set unnamed": _options("DATASETS.TRAIN", "()"),
    "register no list": _options("DATASETS.REGISTER", "3"),
    "register without a name": _options("DATASETS.REGISTER", "[{'FORMAT': 'coco'}]"),
    "register another format": _options("DATASETS.REGISTER", "[{'NAME': 'a', 'FORMAT': 'tf'}]"),
    "register without files": _options("DATASETS.REGISTER", "[{'NAME': 'a', 'FORMAT': 'coco'}]"),
    "image a pipe": _pipe(_train()),
    # models
    "architecture unknown": _train(
        "MODEL.META_ARCHITECTURE", "RetinaNett", "MODEL.SCB.ENABLED", "False"
    ),
    "architecture without the loss": _train("MODEL.META_ARCHITECTURE", "SemanticSegmentor"),
    "backbone unknown": _train("MODEL.BACKBONE.NAME", "build_resnet"),
    "backbone without the features": _train("MODEL.BACKBONE.NAME", "build_resnet_backbone"),
    "feature unknown": _train("MODEL.RETINANET.IN_FEATURES", "['p2', 'p3']"),
    "features none": _train("MODEL.RETINANET.IN_FEATURES", "[]"),
    "trunk without the features": _train("MODEL.FPN.IN_FEATURES", "['res2']"),
    "trunk without such maps": _train("MODEL.RESNETS.OUT_FEATURES", "['res3', 'res9']"),
    "depth unknown": _train("MODEL.RESNETS.DEPTH", "20"),
    "normalization unknown": _train("MODEL.RESNETS.NORM", "XN"),
    "anchor sizes of two levels": _train("MODEL.ANCHOR_GENERATOR.SIZES", "[[8], [16]]"),
    "anchor ratios of two levels": _train("MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS", "[[1.0], [2.0]]"),
    "anchor generator unknown": _train("MODEL.ANCHOR_GENERATOR.NAME", "Default"),
    "matcher without a label": _train("MODEL.RETINANET.IOU_LABELS", "[0, 1]"),
    "classes of other data": _train("MODEL.RETINANET.NUM_CLASSES", "3"),
    "weights to start from missing": _train("MODEL.WEIGHTS", "none.pth"),
    "proposals unknown": _train_rcnn("MODEL.PROPOSAL_GENERATOR.NAME", "RPNN"),
    "proposals without the feature": _train_rcnn("MODEL.RPN.IN_FEATURES", "['p2', 'p9']"),
    "heads unknown": _train_rcnn("MODEL.ROI_HEADS.NAME", "ROIHeads"),
    "heads without the feature": _train_rcnn("MODEL.ROI_HEADS.IN_FEATURES", "['p9']"),
    "heads of other data": _train_rcnn("MODEL.ROI_HEADS.NUM_CLASSES", "7"),
    "SSD without the feature": _train_ssd(
        "SSD/configs/ssd_toy.yaml", "MODEL.SSD.IN_FEATURES", "('conv4_3', 'conv4_4')"
    ),
    "SSD on another backbone": _train_ssd(
        "SSD/configs/ssd_toy.yaml", "MODEL.BACKBONE.NAME", "build_resnet_backbone"
    ),
    "SSD of fewer maps than anchors": _train_ssd(
        "SSD/configs/ssd_toy.yaml", "MODEL.SSD.IN_FEATURES", "('conv4_3', 'fc7')"
    ),
    "FSSD without the feature": _train_ssd(
        "FSSD/configs/fssd_toy.yaml", "MODEL.SSD.IN_FEATURES", "('p0', 'p9')"
    ),
    "DSSD without the feature": _train_ssd(
        "DSSD/configs/dssd_toy.yaml", "MODEL.SSD.IN_FEATURES", "('d3', 'd9')"
    ),
    "RefineDet without the feature": _train_ssd(
        "RefineDet/configs/refinedet_toy.yaml", "MODEL.SSD.IN_FEATURES", "('conv4_3', 'p9')"
    ),
    "RefineDet of other data": _train_ssd(
        "RefineDet/configs/refinedet_toy.yaml", "DATASETS.TRAIN", "mine", "DATASETS.TEST", "()",
        "DATASETS.REGISTER", str(GOOD["DATASETS"]["REGISTER"]),
    ),
    # LazyConfigs
    "lazy not Python": _lazy("model = = 1\n"),
    "lazy without parts": _lazy("x = 1\n"),
    "lazy with an unknown key": _lazy("train = dict(sed=1)\n"),
    # results for recall
    "results missing": lambda: ["recall", "none.json", "coco/a.json"],
    "annotations missing": lambda: ["recall", "results.json", "none.json"],
    "annotations are results": lambda: ["recall", "results.json", "results.json"],
    "results not JSON": _results("["),
    "results an object": _results({}),
    "result a number": _results([1]),
    "result without a score": _result(score=None),
    "score a text": _result(score="high"),
    "score nan": _result(score=float("nan")),
    "box of three": _result(bbox=[1, 2, 3]),
    "box of negative width": _result(bbox=[1, 2, -3, 4]),
    "image unknown": _result(image_id=77),
    "category unknown": _result(category_id=77),
    "IoU of two": _results(RESULTS, "--iou", "2"),
    "areas not rising": _results(RESULTS, "--areas", "9", "4"),
    "input size without area": _results(RESULTS, "--input-size", "600", "800"),
    "recall into a file": _results(RESULTS, "--output", "good.yaml"),
    # compare and export
    "baseline missing": _compare("--baseline", "none", "--candidate", "run", "--output", "out"),
    "run without results": _compare("--baseline", "run", "--candidate", "run", "--output", "out"),
    "export of nothing": lambda: ["export", "none", "--output", "out"],
    "export of an empty run": lambda: ["export", "run", "--output", "out"],
    # weights and images for predict
    "no weights": _predict("coco/images/a.png", *_PREDICT),
    "weights missing": _predict("coco/images/a.png", *_PREDICT, "--weights", "none.pth"),
    "weights empty": _weights("empty.pth", b""),
    "weights a text": _weights("text.pth", b"words"),
    "weights truncated": _weights("cut.pth", b"PK\x03\x04" + bytes(64)),
    "weights with code": _weights("code.pth", {"model": {}, "code": print}),
    "weights a pickle with code": _weights("code.pkl", {"model": print}, pickled=True),
    "weights of another model": _weights("other.pth", {"model": {"w": torch.zeros(1)}}),
    "arrays of another model": _weights(
        "other.pkl", {"model": {"w": np.zeros(1)}, "__author__": "me"}, pickled=True
    ),
    "image missing": _predict("none.png", *_PREDICT, "--weights", "none.pth"),
    "pattern without images": _predict("none*.png", *_PREDICT, "--weights", "none.pth"),
    "threshold of two": _predict("coco/images/a.png", *_PREDICT, "--score-threshold", "2"),
    "predict into a file": _predict(
        "coco/images/a.png", "--config-file", "good.yaml", "--output", "good.yaml"
    ),
}  # fmt: skip
