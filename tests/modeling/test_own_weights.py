"""A weight of the user's own: the file that the documentation shows, and a callable."""

import re
import sys

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.structures import Boxes

from scb_d2 import OBJECT_WEIGHT_REGISTRY, ConfigError, ScaleBalancedWeight, build_model
from scb_d2.cli import main
from scb_d2.loss.object_weights import PAPER_FORMS
from tests.projects.builders import project_config

from .detectors import (
    assert_same_training,
    batch,
    fcos,
    image,
    pair,
    retinanet_config,
    train_step,
)
from .rcnn import STANDARD, rcnn_config


@pytest.fixture
def own_file(tmp_path, monkeypatch, repo_root):
    """``my_weights.py`` of docs/detectors.md in the current folder, forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [x for x in sys.path if x])
    path = tmp_path / "my_weights.py"
    shown = (repo_root / "docs" / "detectors.md").read_text()
    code = re.search(r"`my_weights\.py` .*?```python\n(.*?)```", shown, re.DOTALL)[1]
    path.write_text(f"{code}\n\ndef not_registered(*arguments):\n    return 1\n")
    yield path
    sys.modules.pop("my_weights", None)
    OBJECT_WEIGHT_REGISTRY._obj_map.pop("by_side", None)


def test_one_key_names_a_form_of_the_users_file(own_file):
    model = build_model(retinanet_config("MODEL.SCB.FORM", "my_weights.by_side"))
    boxes = torch.tensor([[0.0, 0, 8, 8], [10, 10, 26, 26]])
    weights = model.object_weight(torch.tensor([1, 0, 1]), torch.tensor([1, 1, -1]), boxes)
    assert weights.tolist() == [3 * 32 / 16, 3 * 32 / 8, 1]
    once_imported = ScaleBalancedWeight("by_side").of_objects(torch.ones(2), Boxes(boxes))
    assert once_imported.tolist() == [3 * 32 / 8, 3 * 32 / 16]


def test_the_match_report_shows_it(own_file, tmp_path, capsys):
    shapes = ["DATASETS.SYNTHETIC.ROOT", str(tmp_path / "shapes")]
    shapes += ["DATASETS.SYNTHETIC.TRAIN_IMAGES", "12", "DATASETS.SYNTHETIC.VAL_IMAGES", "2"]
    config = tmp_path / "own.yaml"
    config.write_text(
        "MODEL:\n  META_ARCHITECTURE: RetinaNet\n"
        "  BACKBONE: {NAME: build_retinanet_resnet_fpn_backbone}\n"
        "  RESNETS: {OUT_FEATURES: [res3, res4, res5]}\n"
        "  FPN: {IN_FEATURES: [res3, res4, res5]}\n"
        "  SCB: {ENABLED: True, FORM: my_weights.by_side}\n"
        "DATASETS: {TRAIN: [shapes_train], TEST: [shapes_val]}\n"
    )
    argv = ["matches", "--config-file", str(config), "--output", "report", *shapes]
    assert main(argv) == 0
    assert "my_weights.by_side" in (tmp_path / "report" / "matches.html").read_text()
    assert "under the form 'my_weights.by_side'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("my_weights.by_sides", "my_weights registers nothing of that name"),
        ("my_weights.not_registered", "my_weights registers nothing of that name"),
        ("own_weight.by_side", "the module own_weight is neither installed nor in the current"),
        ("broken.by_side", "broken cannot be imported: NameError: name 'nothing' is not defined"),
        ("by_side", "must be one of information, .*inverse_sqrt_area, or MODULE.NAME of one that"),
        ("my_weights.py:by_side", "must be one of information"),
        (".by_side", "must be one of information"),
        (7, "must be one of information, .*; got 7"),
    ],
)
def test_what_is_not_there_is_refused_by_name(own_file, form, message):
    own_file.with_name("broken.py").write_text("nothing\n")
    with pytest.raises(ConfigError, match=f"MODEL.SCB.FORM .*{message}"):
        retinanet_config("MODEL.SCB.FORM", form)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (
            "-match_counts",
            r"must return finite weights of at least 0; it gives -3 to an",
        ),
        ("match_counts.log() / 0", r"must return finite weights of at least 0; it gives nan to an"),
        ("1 / (match_counts - 1)", r"gives inf to an object of 0.5 x 0.5 pixels with M 1\.$"),
        ("match_counts.sum()", r"must return one weight per object, a tensor of shape \(125,\)"),
        ("match_counts[:, None]", r"must return one weight per object.*got \(125, 1\)"),
        ("3.0", r"must return one weight per object.*got 3.0"),
        ("match_counts / match_counts.max()", r"fails on 0 objects: (Runtime|Index)Error: max"),
        ("gt_boxes.sides()", r"fails on 125 objects: AttributeError: 'Boxes' object has no"),
    ],
)
def test_what_a_form_returns_is_tried_when_it_is_built(own_file, returned, message):
    code = own_file.read_text().replace("return 32 / gt_boxes", f"return {returned}  # ")
    own_file.write_text(code)
    with pytest.raises(ConfigError, match=message) as error:
        build_model(retinanet_config("MODEL.SCB.FORM", "my_weights.by_side"))
    assert "\n" not in str(error.value) and "'my_weights.by_side'" in str(error.value)


RIVALS = [form for form, _ in OBJECT_WEIGHT_REGISTRY if form not in PAPER_FORMS]
BOTH = ("MODEL.SCB.STAGES", ("first", "second"))
TOYS = {
    "RetinaNet": lambda *opts: build_model(retinanet_config(*opts)),
    "Faster R-CNN": lambda *opts: build_model(rcnn_config(STANDARD, *BOTH, *opts)),
    "SSD": lambda *opts: build_model(project_config("SSD", "ssd_toy_scb.yaml", *opts)),
    "RefineDet": lambda *opts: build_model(
        project_config("RefineDet", "refinedet_toy_scb_both.yaml", *opts)
    ),
    "FCOS": lambda _, form, *__: fcos(object_weight=ScaleBalancedWeight(form)),
}


@pytest.mark.parametrize("form", RIVALS)
@pytest.mark.parametrize("name", TOYS)
def test_every_rival_trains_every_detector(name, form):
    model = TOYS[name]("MODEL.SCB.FORM", form, "MODEL.DEVICE", "cpu")
    weights = [x.object_weight for x in model.modules() if hasattr(x, "object_weight")]
    assert weights and {x.form for x in weights if x is not None} == {form}
    size = getattr(model, "image_size", 96)
    data = [image([[10, 10, 22, 21], [20, 25, 90, 80]], [0, 1], size), image([], None, size)]
    losses, gradients, _ = train_step(model, data)
    assert all(torch.isfinite(x) for x in losses.values())
    assert all(torch.isfinite(x).all() for x in gradients.values())


def test_a_lazy_config_names_the_users_form(own_file, repo_root):
    """The line that the documentation shows."""
    shown = (repo_root / "docs" / "detectors.md").read_text()
    line = re.search(r"`(ScaleBalancedWeight\(form=\"my_weights[^`]*)`", shown)[1]
    (own_file.parent / "own.py").write_text(
        "from detectron2.config import LazyCall as L\nfrom scb_d2 import ScaleBalancedWeight\n"
        f"weight = L({line.replace('(', ')(', 1)}\n"
    )
    weight = instantiate(LazyConfig.load("own.py").weight)
    assert (weight.form, weight.beta) == ("my_weights.by_side", 1.0)
    assert weight.of_objects(torch.ones(1), Boxes(torch.tensor([[0.0, 0, 8, 8]]))).tolist() == [4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
@pytest.mark.parametrize("kind", ["RetinaNet", STANDARD])
def test_a_callable_may_return_any_float_type(kind, dtype):
    """Weights of 3 in half and in double precision give the losses of single precision."""
    opts = ["MODEL.SCB.FORM", "uniform"]
    if kind == "RetinaNet":
        ours, other = pair(retinanet_config(*opts), retinanet_config(*opts))
    else:
        opts += ["MODEL.SCB.STAGES", ("first", "second")]
        ours, other = pair(rcnn_config(kind, *opts), rcnn_config(kind, *opts))
    weighted = [x for x in other.modules() if getattr(x, "object_weight", None) is not None]
    for module in weighted:
        own = module.object_weight
        module.object_weight = lambda *matches, own=own: own(*matches).to(dtype)
    assert len(weighted) == (1 if kind == "RetinaNet" else 2)
    assert_same_training(ours, other, batch(), rtol=2e-6)
