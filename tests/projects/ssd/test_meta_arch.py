import logging

import pytest
import torch
from detectron2.engine import DefaultPredictor
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage

from scb_d2 import ScaleBalancedWeight, build_model
from scb_d2.errors import ConfigError, DataError
from scb_d2.projects.ssd import SSD, SSDAnchorGenerator, detect_objects
from tests.projects.builders import training_input

from .builders import build_ssd, ssd_config, toy_ssd

MANY = [(x, y, x + 9, y + 9) for x in range(0, 150, 10) for y in range(0, 150, 10)] + [
    (x, y, x + 30, y + 20) for x in range(0, 100, 10) for y in range(0, 150, 20)
][:75]


@pytest.fixture(scope="module")
def model() -> SSD:
    torch.manual_seed(0)
    return toy_ssd("MODEL.SCB.ENABLED", True)


CASES = {
    "no objects": [[]],
    "one object": [[(30, 30, 80, 90)]],
    "smaller than a cell": [[(3, 3, 5, 5), (50.2, 50.2, 50.9, 50.7)]],
    "300 objects": [MANY],
    "the same box twice": [[(30, 30, 80, 90), (30, 30, 80, 90)]],
    "the whole image": [[(0, 0, 160, 160)]],
    "mixed batch": [[], [(1, 1, 20, 20)], MANY[:7]],
}


@pytest.mark.parametrize("case", CASES)
def test_trains_on(case: str, model: SSD) -> None:
    model.train()
    model.zero_grad()
    with EventStorage(0):
        losses = model([training_input(boxes) for boxes in CASES[case]])
    assert set(losses) == {"loss_cls", "loss_box_reg"}
    assert all(x.isfinite() for x in losses.values())
    sum(losses.values()).backward()
    assert all(x.grad is not None and x.grad.isfinite().all() for x in model.parameters())
    if case == "no objects":
        assert losses["loss_cls"] == 0 and losses["loss_box_reg"] == 0


def test_300_objects_are_300(model: SSD) -> None:
    assert len(MANY) == 300


def test_training_needs_the_square(model: SSD) -> None:
    model.train()
    with pytest.raises(DataError, match=r"160 x 160 pixels; got one of 200 x 200.*INPUT\.MAPPER"):
        model([training_input([], size=200)])


@pytest.mark.parametrize("size", [(160, 160), (97, 203), (33, 1000), (1, 1)])
def test_inference_at_any_size(size: tuple[int, int], model: SSD) -> None:
    model.eval()
    image = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    with torch.no_grad():
        (plain,) = model([{"image": image}])
        (scaled,) = model([{"image": image, "height": 50, "width": 70}])
    plain, scaled = plain["instances"], scaled["instances"]
    assert plain.image_size == size and scaled.image_size == (50, 70)
    factors = torch.tensor([70 / size[1], 50 / size[0]] * 2)
    if len(plain) == len(scaled):  # boxes of no width are dropped after the rescale
        expected = plain.pred_boxes.tensor * factors
        assert torch.allclose(scaled.pred_boxes.tensor, expected, atol=0.01)
    assert (scaled.pred_boxes.tensor >= 0).all()


def test_images_of_a_batch_do_not_touch_each_other(model: SSD) -> None:
    model.eval()
    images = [{"image": torch.randint(0, 256, (3, n, n), dtype=torch.uint8)} for n in (160, 90)]
    with torch.no_grad():
        together, alone = model(images), [model([x])[0] for x in images]
    for a, b in zip(together, alone, strict=True):
        assert len(a["instances"]) == len(b["instances"])
        assert torch.allclose(a["instances"].scores, b["instances"].scores, atol=1e-5)


def test_detect_objects_limits_each_class_over_all_levels() -> None:
    anchors = torch.tensor([[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(6)])
    scores = torch.zeros(6, 2)
    scores[:, 0] = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.005])
    scores[3, 1] = 0.95
    args = (anchors, scores, torch.zeros(6, 4), Box2BoxTransform((10, 10, 5, 5)), (10, 120))
    result = detect_objects(*args, topk_candidates=2)
    assert result.pred_classes.tolist() == [1, 0, 0]
    assert result.scores.tolist() == pytest.approx([0.95, 0.9, 0.8])
    assert torch.equal(result.pred_boxes.tensor, anchors[[3, 0, 1]])
    assert len(detect_objects(*args)) == 6  # 0.005 is below 0.01
    assert len(detect_objects(*args, max_detections=1)) == 1


def test_suppression_is_within_classes() -> None:
    anchors = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [4.1, 0, 14.1, 10]])
    scores = torch.tensor([[0.9, 0.0], [0.8, 0.7], [0.6, 0.0]])
    result = detect_objects(
        anchors, scores, torch.zeros(3, 4), Box2BoxTransform((10, 10, 5, 5)), (20, 20)
    )
    assert result.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])  # IoU 0.82 goes, 0.42 stays


def test_predictor_of_detectron2_finds_the_same() -> None:
    """Tools that resize by Detectron2's own rule work too: the model warps what it gets."""
    cfg = ssd_config("ssd_toy.yaml")
    predictor = DefaultPredictor(cfg)
    image = torch.randint(0, 256, (97, 203, 3), dtype=torch.uint8).numpy()
    instances = predictor(image)["instances"]
    assert instances.image_size == (97, 203)


def test_scb_keys_reach_the_loss() -> None:
    model = toy_ssd(
        "MODEL.SCB.ENABLED", True,
        "MODEL.SCB.FORM", "inverse_sqrt",
        "MODEL.SCB.ALPHA", 2.0,
        "MODEL.SCB.BETA", 1.5,
        "MODEL.SCB.LOSSES", ("cls",),
        "MODEL.SCB.NORMALIZER", "mean_one",
        "MODEL.SCB.LOG_PERIOD", 7,
    )  # fmt: skip
    weight, loss = model.object_weight, model.multibox_loss
    assert (weight.form, weight.alpha, weight.beta) == ("inverse_sqrt", 2.0, 1.5)
    assert loss.loss_weighting.weighted_losses == ("cls",)
    assert loss.loss_weighting.weight_normalizer == "mean_one"
    assert loss.statistics.period == 7
    assert toy_ssd().object_weight is None


def test_second_stage_alone_is_refused() -> None:
    with pytest.raises(ConfigError, match="'SSD' only has first"):
        toy_ssd("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", "second")


def test_matching_is_fixed_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "scb_d2"):
        quiet = toy_ssd("MODEL.SCB.ENABLED", True)
        assert "LOW_QUALITY" not in caplog.text
        loud = toy_ssd("MODEL.SCB.ENABLED", True, "MODEL.SCB.LOW_QUALITY", "stock")
    assert caplog.text.count("LOW_QUALITY 'stock' has no effect") == 1
    assert quiet.anchor_matcher.low_quality == loud.anchor_matcher.low_quality == "reassign"
    assert toy_ssd().anchor_matcher.low_quality == "reassign"


def test_scb_and_plain_have_the_same_parameters() -> None:
    plain, weighted = toy_ssd(), toy_ssd("MODEL.SCB.ENABLED", True)
    assert list(plain.state_dict()) == list(weighted.state_dict())


def test_offers_what_retinanet_offers(model: SSD) -> None:
    assert META_ARCH_REGISTRY.get("SSD").scb_stages == ("first",)
    assert isinstance(model.anchor_generator, SSDAnchorGenerator)
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, 160, 160))
    anchors = Boxes.cat(model.anchor_generator([features[x] for x in model.head_in_features]))
    assert len(anchors) == 20 * 20 * 4 + 10 * 10 * 6 + 5 * 5 * 6 + 3 * 3 * 4 + 4


def test_built_in_plain_python_with_an_own_weight() -> None:
    cfg = ssd_config("ssd_toy.yaml", "MODEL.SSD.VGG_WIDTH", 0.02)
    parts = SSD.from_config(cfg)
    parts["object_weight"] = ScaleBalancedWeight("inverse", beta=2.0)
    model = SSD(**parts)
    with EventStorage(0) as storage:
        model([training_input([(30, 30, 80, 90)])])
        assert storage.latest()["scb/first/num_objects"][0] == 1
    assert isinstance(build_model(cfg), SSD)


def test_anchor_levels_must_fit_the_maps() -> None:
    with pytest.raises(ConfigError, match=r"MODEL\.SSD\.MIN_SIZES has 6 entries.*7 feature maps"):
        build_ssd("ssd512_voc.yaml", "MODEL.SSD.MIN_SIZES", (30, 60, 111, 162, 213, 264))
