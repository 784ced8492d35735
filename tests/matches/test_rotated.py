"""The match report of a detector of rotated boxes: M by the matcher that trains it."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data import transforms as T
from detectron2.modeling.anchor_generator import RotatedAnchorGenerator
from detectron2.structures import BoxMode, RotatedBoxes
from detectron2.utils.events import EventStorage
from PIL import Image

from scb_d2 import ConfigError, build_model
from scb_d2.advise.measure import check_upright
from scb_d2.cli import main
from scb_d2.data.rotated_mapper import RotatedDatasetMapper
from scb_d2.matches.anchors import AnchorGeometry
from scb_d2.matches.collect import match_image
from scb_d2.matches.network_input import AugmentedInput, fixed_input, seeded
from scb_d2.matches.rotated import rotated_ious
from scb_d2.modeling.compiled_operators import has_compiled_operators
from scb_d2.utils.tensors import load_tensors
from tests.modeling.rotated import rotated_config

SIZE = (96, 128)  # height, width
# centre, width, height, angle; two objects are one box, one is nearly upright and leaves the image
BOXES = [[20, 20, 14, 10, 30], [55, 50, 60, 40, 45], [65, 20, 30, 20, -60], [65, 20, 30, 20, -60]]
BOXES += [[120, 80, 30, 20, 0.5], [100, 20, 12, 0, 10]]

needs_operators = pytest.mark.skipif(
    not has_compiled_operators(), reason="needs Detectron2's compiled operators"
)

# A user's LazyConfig: the data set is registered in the file itself.
LAZY = """
from detectron2.config import LazyConfig
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.layers import ShapeSpec
from detectron2.structures import BoxMode

def ships():
    boxes = {boxes!r}
    annotations = [
        {{"bbox": box, "bbox_mode": BoxMode.XYWHA_ABS, "category_id": i % 2}}
        for i, box in enumerate(boxes)
    ]
    image = {{"file_name": {image!r}, "height": 96, "width": 128}}
    return [
        {{**image, "image_id": n, "annotations": annotations if n else []}} for n in range(4)
    ]

for name in ("ships_train", "ships_val"):
    if name not in DatasetCatalog.list():
        DatasetCatalog.register(name, ships)
        MetadataCatalog.get(name).thing_classes = ["ship", "boat"]

cfg = LazyConfig.load({base!r})
model, dataloader, optimizer = cfg.model, cfg.dataloader, cfg.optimizer
lr_multiplier, train = cfg.lr_multiplier, cfg.train
model.backbone.bottom_up.stages.depth = 18
del model.backbone.bottom_up.stages.stride_in_1x1
model.backbone.out_channels = model.proposal_generator.head.in_channels = 16
model.proposal_generator.anchor_generator.sizes = [[12], [24], [48], [96], [128]]
model.proposal_generator.pre_nms_topk = (60, 60)  # of which Detectron2's NMS is slow on CPUs
model.proposal_generator.post_nms_topk = (40, 20)
heads = model.roi_heads
heads.num_classes, heads.batch_size_per_image = 2, 32
heads.box_head.input_shape = ShapeSpec(channels=16, height=7, width=7)
heads.box_head.fc_dims = [32]
heads.box_predictor.input_shape = ShapeSpec(channels=32)
heads.box_predictor.test_topk_per_image = 10
dataloader.train.dataset.names, dataloader.test.dataset.names = "ships_train", "ships_val"
dataloader.train.mapper.augmentations[0].short_edge_length = [96]
dataloader.test.mapper.augmentations[0].short_edge_length = 96
dataloader.train.num_workers = dataloader.test.num_workers = 0
dataloader.train.total_batch_size = 2
optimizer.lr = 1e-4
train.update(
    init_checkpoint="", max_iter=2, eval_period=2, checkpointer=dict(period=1, max_to_keep=9),
    output_dir={output!r}, seed=1, device="cpu",
)
del cfg, heads
"""


def record(boxes=BOXES, path=""):
    annotations = [
        {"id": i + 1, "bbox": box, "bbox_mode": BoxMode.XYWHA_ABS, "category_id": i % 2}
        for i, box in enumerate(boxes)
    ]
    annotations.append({**annotations[0], "iscrowd": 1, "id": 99})
    size = {"height": SIZE[0], "width": SIZE[1]}
    return {"image_id": 1, "file_name": str(path), "annotations": annotations, **size}


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(path)
    return path


AUGMENTATIONS = [T.ResizeShortestEdge([144, 144], 400), T.RandomFlip()]


@pytest.mark.parametrize("seed", range(4))
def test_boxes_are_those_of_the_mapper(photograph, seed):
    mapper = RotatedDatasetMapper(True, augmentations=AUGMENTATIONS, image_format="BGR")
    with seeded(seed):
        mapped = mapper(record(path=photograph))
    gt_boxes = mapped["instances"].gt_boxes
    assert isinstance(gt_boxes, RotatedBoxes) and len(gt_boxes) == 5  # no crowd, none of no area
    with seeded(seed):
        found = AugmentedInput(AUGMENTATIONS, "", rotated=True)(record())
    assert found.size == tuple(mapped["image"].shape[-2:]) == (144, 192)
    assert found.kept.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(found.boxes, gt_boxes.tensor.double().numpy())


def test_by_hand_a_resize_turns_and_a_flip_mirrors():
    # From 128 x 96 to 256 x 96: a box of 45 degrees is stretched along x alone.
    wide = fixed_input([T.Resize((96, 256))], rotated=True)(record([[20, 20, 10, 10, 45]]))
    side = 10 * math.sqrt((2**2 + 1) / 2)
    expected = [40, 20, side, side, math.degrees(math.atan2(2, 1))]
    assert wide.boxes[0] == pytest.approx(expected, rel=1e-6)
    flip = AugmentedInput([T.RandomFlip(1.0)], "", rotated=True)(record([[20, 30, 10, 8, 25]]))
    assert flip.boxes[0] == pytest.approx([108, 30, 10, 8, -25])
    upright = {"bbox": [10, 20, 30, 8], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    found = fixed_input([], rotated=True)({**record(), "annotations": [upright]})
    assert found.boxes.tolist() == [[25, 24, 30, 8, 0]]


def test_an_augmentation_that_knows_no_rotated_boxes_is_named():
    with pytest.raises(ConfigError, match=r"cannot be applied to rotated boxes: .*CropTransform"):
        AugmentedInput([T.RandomCrop("absolute", (50, 50))], "", rotated=True)(record())


@needs_operators
def test_near_pairs_are_all_that_overlap():
    from detectron2.structures import pairwise_iou_rotated

    random = torch.Generator().manual_seed(0)
    shift = torch.tensor([0.0, 0, 1, 1, -180])
    scale = torch.tensor([200.0, 200, 60, 60, 360])
    gt_boxes, anchors = (
        RotatedBoxes(torch.rand(n, 5, generator=random) * scale + shift) for n in (20, 3000)
    )
    expected = pairwise_iou_rotated(gt_boxes, anchors)
    found = rotated_ious(gt_boxes, anchors)
    assert torch.equal(found, expected) and 0 < (found > 0).float().mean() < 0.2


@needs_operators
@pytest.mark.parametrize("low_quality", ["stock", "reassign"])
@pytest.mark.parametrize("enabled", [True, False])
def test_matches_are_those_of_training(photograph, enabled, low_quality):
    model = build_model(rotated_config("MODEL.SCB.LOW_QUALITY", low_quality, enabled=enabled))
    mapper = RotatedDatasetMapper(True, augmentations=[], image_format="BGR")
    mapped = mapper(record(path=photograph))
    rpn = model.proposal_generator
    features = model.backbone(model.preprocess_image([mapped]).tensor)
    anchors = rpn.anchor_generator([features[f] for f in rpn.in_features])
    if enabled:
        with EventStorage():
            _, (matched,) = rpn.label_and_sample_anchors(anchors, [mapped["instances"]])
        expected = matched.match_counts.tolist()
    else:
        from detectron2.structures import pairwise_iou_rotated

        quality = pairwise_iou_rotated(mapped["instances"].gt_boxes, RotatedBoxes.cat(anchors))
        idxs, labels = rpn.anchor_matcher(quality)
        expected = [int(((idxs == i) & (labels == 1)).sum()) for i in range(5)]
    geometry = AnchorGeometry(model)
    found = match_image(record(), geometry, fixed_input([], rotated=True), "input")
    assert found.counts.tolist() == expected and sum(expected) > 0
    assert found.level_counts.sum(axis=1).tolist() == expected
    areas = found.input_boxes[:, 2] * found.input_boxes[:, 3]
    assert found.sizes.tolist() == [int(area >= 1024) for area in areas]  # small or medium
    assert found.left_out == 2


@pytest.mark.skipif(has_compiled_operators(), reason="Detectron2 has its compiled operators")
def test_without_operators_the_sentence_is_that_of_training(repo_root, tmp_path, capsys):
    config = tmp_path / "rotated.yaml"
    config.write_text(
        "MODEL: {PROPOSAL_GENERATOR: {NAME: RRPN}, SCB: {ENABLED: True}}\n"
        "DATASETS: {TRAIN: [shapes_train], TEST: [shapes_val]}\n"
    )
    argv = ["matches", "--config-file", str(config), "--output", str(tmp_path / "out")]
    assert main(argv) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    with pytest.raises(ConfigError) as error:
        build_model(rotated_config())
    assert sentence == str(error.value) and "lacks its compiled operators" in sentence
    lazy = LazyConfig.load(str(repo_root / "configs" / "lazy" / "rotated_faster_rcnn_scb.py"))
    from detectron2.config import instantiate

    with pytest.raises(ConfigError, match="ScaleBalancedRRPN needs rotated boxes"):
        instantiate(lazy.model)


def test_advice_is_refused():
    generator = RotatedAnchorGenerator(
        sizes=[[32]], aspect_ratios=[1.0], angles=[0, 45], strides=[8]
    )
    rpn = SimpleNamespace(anchor_generator=generator)
    with pytest.raises(ConfigError, match=r"does not cover rotated boxes.*scb-d2 matches counts"):
        check_upright(SimpleNamespace(proposal_generator=rpn))
    check_upright(SimpleNamespace(proposal_generator=None))


@needs_operators
def test_a_users_lazy_config_from_report_to_resume_and_export(
    repo_root, tmp_path, photograph, capsys
):
    from scb_d2.engine.main import main as train

    base = str(repo_root / "configs" / "lazy" / "rotated_faster_rcnn_scb.py")
    config = tmp_path / "ships.py"
    text = LAZY.format(
        boxes=BOXES[:5], image=str(photograph), base=base, output=str(tmp_path / "run")
    )
    config.write_text(text)
    try:
        argv = ["--config-file", str(config), "--output", str(tmp_path / "report")]
        assert main(["matches", *argv]) == 0
        report = json.loads((tmp_path / "report" / "matches.json").read_text())
        assert report["num_objects"] == 15 and report["suggestions"]["anchors"] == []
        assert report["about"]["architecture"] == "GeneralizedRCNN"
        assert report["about"]["detector_stage"] == "ScaleBalancedRRPN"
        assert (tmp_path / "report" / "matches_sample_1.png").is_file()
        capsys.readouterr()
        argv = ["--config-file", str(config), "--output", str(tmp_path / "advice")]
        assert main(["advise", *argv]) == 1 and not (tmp_path / "advice").exists()
        assert "does not cover rotated boxes, which ScaleBalancedRRPN" in capsys.readouterr().err
        assert train(["--config-file", str(config)]) == 0
        assert "bbox" in json.loads((tmp_path / "run" / "results.json").read_text())["ships_val"]
        straight = load_tensors(str(tmp_path / "run" / "model_final.pth"))["model"]
        (tmp_path / "run" / "model_final.pth").unlink()
        (tmp_path / "run" / "last_checkpoint").write_text("model_0000000.pth")
        assert train(["--resume", "--config-file", str(config)]) == 0
        resumed = load_tensors(str(tmp_path / "run" / "model_final.pth"))["model"]
        assert all(torch.equal(resumed[key], value) for key, value in straight.items())
        assert main(["export", str(tmp_path / "run"), "--output", str(tmp_path / "stock")]) == 0
    finally:
        for name in ("ships_train", "ships_val"):
            DatasetCatalog.pop(name, None)
            MetadataCatalog.pop(name, None)
    exported = LazyConfig.load(str(tmp_path / "stock" / "config.yaml"))
    assert exported.model.proposal_generator._target_.endswith(".RRPN")
    assert "scb_d2" not in (tmp_path / "stock" / "config.yaml").read_text()
