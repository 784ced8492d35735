import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling.matcher import Matcher
from detectron2.structures import Boxes

from scb_d2 import add_scb_config, build_model
from scb_d2.engine.config.load import load_config
from scb_d2.errors import ConfigError
from scb_d2.matches.anchors import AnchorGeometry, positive_threshold

SMALL = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]
SMALL += ["MODEL.DEVICE", "cpu"]
ZOO = {
    "retinanet": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "rpn_fpn": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
    "rpn_c4": "COCO-Detection/faster_rcnn_R_50_C4_1x.yaml",
}


def own_anchors(model, image):
    """Anchors and feature map sizes that the model itself makes of an image."""
    batch = model.preprocess_image([{"image": image}])
    features = model.backbone(batch.tensor)
    owner = getattr(model, "proposal_generator", None) or model
    names = getattr(owner, "in_features", None) or owner.head_in_features
    maps = [features[name] for name in names]
    return Boxes.cat(owner.anchor_generator(maps)).tensor, [tuple(m.shape[-2:]) for m in maps]


@pytest.mark.parametrize("name", sorted(ZOO))
def test_shapes_and_anchors_are_those_of_the_running_model(name):
    opts = SMALL[4:] if name == "rpn_c4" else SMALL  # Res5ROIHeads has no small variant
    model = build_model(load_config(ZOO[name], opts)).eval()
    images = [torch.zeros(3, *size, dtype=torch.uint8) for size in ((97, 131), (64, 203))]
    with torch.no_grad():
        expected = [own_anchors(model, image) for image in images]
    shape = AnchorGeometry(model)
    for image, (anchors, grid_sizes) in zip(images, expected, strict=True):
        found = shape.anchors(tuple(image.shape[-2:]))
        assert found.grid_sizes == grid_sizes
        assert torch.equal(found.boxes.tensor, anchors)
        assert found.level_starts[-1] == len(anchors)


def test_shapes_of_ssd(repo_root):
    model = build_model(
        load_config(
            str(repo_root / "projects/SSD/configs/ssd300_voc.yaml"), ["MODEL.DEVICE", "cpu"]
        )
    )
    found = AnchorGeometry(model).anchors((300, 300))
    assert found.grid_sizes == [(n, n) for n in (38, 19, 10, 5, 3, 1)]
    assert len(found.boxes) == 8732


def test_operators_without_shape_inference_are_run(monkeypatch):
    from tests.matches.scene import Detector

    class Stubborn(torch.nn.Module):
        size_divisibility = 16
        padding_constraints = {}

        def forward(self, images):
            if images.is_meta:
                raise NotImplementedError
            height, width = images.shape[-2:]
            return {f"p{s}": images.new_zeros(1, 1, height // s, width // s) for s in (8, 16)}

    detector = Detector()
    detector.backbone = Stubborn()
    assert AnchorGeometry(detector).grid_sizes((32, 64)) == [(4, 8), (2, 4)]


def test_boundary_filter_of_the_rpn():
    cfg = load_config(ZOO["rpn_fpn"], [*SMALL, "MODEL.RPN.BOUNDARY_THRESH", "0"])
    shape = AnchorGeometry(build_model(cfg))
    anchors = shape.anchors((97, 131))
    boxes = Boxes(torch.tensor([[0.0, 0.0, 60.0, 60.0]]))
    _, labels = shape.match(boxes, anchors, (97, 131))
    inside = anchors.boxes.inside_box((97, 131), 0)
    assert (labels[~inside] == -1).all()
    assert not inside.all()


@pytest.mark.parametrize(
    ("thresholds", "labels", "expected"),
    [([0.4, 0.5], [0, -1, 1], 0.5), ([0.3, 0.7], [0, -1, 1], 0.7), ([0.5], [0, 1], 0.5)],
)
def test_positive_threshold(thresholds, labels, expected):
    assert positive_threshold(Matcher(thresholds, labels)) == expected


def test_matcher_without_positives_is_refused():
    with pytest.raises(ConfigError, match="no IoU"):
        positive_threshold(Matcher([0.5], [0, -1]))


def test_detectors_without_anchors_are_refused():
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.DEVICE = "SemanticSegmentor", "cpu"
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    with pytest.raises(ConfigError, match="SemanticSegmentor does not"):
        AnchorGeometry(build_model(cfg))
