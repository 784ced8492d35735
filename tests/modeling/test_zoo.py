"""Every YAML of Detectron2's model zoo, narrowed but with its own code path."""

from pathlib import Path

import detectron2
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model as build_stock_model
from detectron2.structures import BitMasks, Boxes, Instances, Keypoints

from scb_d2 import ConfigError, add_scb_config, build_model
from scb_d2.modeling.compiled_operators import has_compiled_operators

from .detectors import train_step

ZOO = Path(detectron2.__file__).parent / "model_zoo" / "configs"

STEPS = [
    "COCO-Detection/faster_rcnn_R_50_C4_1x",
    "COCO-Detection/faster_rcnn_R_50_C4_3x",
    "COCO-Detection/faster_rcnn_R_50_DC5_1x",
    "COCO-Detection/faster_rcnn_R_50_DC5_3x",
    "COCO-Detection/faster_rcnn_R_50_FPN_1x",
    "COCO-Detection/faster_rcnn_R_50_FPN_3x",
    "COCO-Detection/retinanet_R_50_FPN_1x",
    "COCO-Detection/retinanet_R_50_FPN_3x",
    "COCO-Detection/rpn_R_50_C4_1x",
    "COCO-Detection/rpn_R_50_FPN_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_DC5_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_3x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x",
    "Cityscapes/mask_rcnn_R_50_FPN",
    "Detectron1-Comparisons/faster_rcnn_R_50_FPN_noaug_1x",
    "Detectron1-Comparisons/keypoint_rcnn_R_50_FPN_1x",
    "Detectron1-Comparisons/mask_rcnn_R_50_FPN_noaug_1x",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x",
    "Misc/cascade_mask_rcnn_R_50_FPN_3x",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
    "Misc/mask_rcnn_R_50_FPN_3x_gn",
    "Misc/mask_rcnn_R_50_FPN_3x_syncbn",
    "Misc/scratch_mask_rcnn_R_50_FPN_3x_gn",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_gn",
    "Misc/scratch_mask_rcnn_R_50_FPN_9x_syncbn",
    "PascalVOC-Detection/faster_rcnn_R_50_C4",
    "PascalVOC-Detection/faster_rcnn_R_50_FPN",
    "quick_schedules/cascade_mask_rcnn_R_50_FPN_inference_acc_test",
    "quick_schedules/cascade_mask_rcnn_R_50_FPN_instant_test",
    "quick_schedules/keypoint_rcnn_R_50_FPN_inference_acc_test",
    "quick_schedules/keypoint_rcnn_R_50_FPN_instant_test",
    "quick_schedules/keypoint_rcnn_R_50_FPN_normalized_training_acc_test",
    "quick_schedules/keypoint_rcnn_R_50_FPN_training_acc_test",
    "quick_schedules/mask_rcnn_R_50_C4_GCV_instant_test",
    "quick_schedules/mask_rcnn_R_50_C4_inference_acc_test",
    "quick_schedules/mask_rcnn_R_50_C4_instant_test",
    "quick_schedules/mask_rcnn_R_50_C4_training_acc_test",
    "quick_schedules/mask_rcnn_R_50_DC5_inference_acc_test",
    "quick_schedules/mask_rcnn_R_50_FPN_inference_acc_test",
    "quick_schedules/mask_rcnn_R_50_FPN_instant_test",
    "quick_schedules/mask_rcnn_R_50_FPN_pred_boxes_training_acc_test",
    "quick_schedules/mask_rcnn_R_50_FPN_training_acc_test",
    "quick_schedules/panoptic_fpn_R_50_inference_acc_test",
    "quick_schedules/panoptic_fpn_R_50_instant_test",
    "quick_schedules/panoptic_fpn_R_50_training_acc_test",
    "quick_schedules/retinanet_R_50_FPN_inference_acc_test",
    "quick_schedules/retinanet_R_50_FPN_instant_test",
    "quick_schedules/rpn_R_50_FPN_inference_acc_test",
    "quick_schedules/rpn_R_50_FPN_instant_test",
]

BUILT_ONLY = [
    "COCO-Detection/faster_rcnn_R_101_C4_3x",
    "COCO-Detection/faster_rcnn_R_101_DC5_3x",
    "COCO-Detection/faster_rcnn_R_101_FPN_3x",
    "COCO-Detection/faster_rcnn_X_101_32x8d_FPN_3x",
    "COCO-Detection/retinanet_R_101_FPN_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_C4_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_DC5_3x",
    "COCO-InstanceSegmentation/mask_rcnn_R_101_FPN_3x",
    "COCO-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_3x",
    "COCO-Keypoints/keypoint_rcnn_R_101_FPN_3x",
    "COCO-Keypoints/keypoint_rcnn_X_101_32x8d_FPN_3x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_101_3x",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_101_FPN_1x",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_101_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_X_101_32x8d_FPN_1x",
]

PRECOMPUTED = [
    "COCO-Detection/fast_rcnn_R_50_FPN_1x",
    "quick_schedules/fast_rcnn_R_50_FPN_inference_acc_test",
    "quick_schedules/fast_rcnn_R_50_FPN_instant_test",
]

SEMANTIC = [
    "Misc/semantic_R_50_FPN_1x",
    "quick_schedules/semantic_R_50_FPN_inference_acc_test",
    "quick_schedules/semantic_R_50_FPN_instant_test",
    "quick_schedules/semantic_R_50_FPN_training_acc_test",
]

DEFORMABLE = [
    "Misc/cascade_mask_rcnn_X_152_32x8d_FPN_IN5k_gn_dconv",
    "Misc/mask_rcnn_R_50_FPN_1x_dconv_c3-c5",
    "Misc/mask_rcnn_R_50_FPN_3x_dconv_c3-c5",
    "Misc/panoptic_fpn_R_101_dconv_cascade_gn_3x",
]

REFUSED = {
    **dict.fromkeys(PRECOMPUTED, "only has second"),
    **dict.fromkeys(SEMANTIC, "does not support MODEL.META_ARCHITECTURE 'SemanticSegmentor'"),
    **dict.fromkeys(DEFORMABLE, "lacks its compiled operators"),
}

BOTH_STAGES = [
    "COCO-Detection/faster_rcnn_R_50_DC5_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_C4_1x",
    "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x_giou",
    "COCO-Keypoints/keypoint_rcnn_R_50_FPN_1x",
    "COCO-PanopticSegmentation/panoptic_fpn_R_50_1x",
    "LVISv0.5-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "LVISv1-InstanceSegmentation/mask_rcnn_R_50_FPN_1x",
    "Misc/cascade_mask_rcnn_R_50_FPN_1x",
    "Misc/mask_rcnn_R_50_FPN_1x_cls_agnostic",
    "Misc/mask_rcnn_R_50_FPN_3x_gn",
    "quick_schedules/mask_rcnn_R_50_FPN_pred_boxes_training_acc_test",
]


def config(name, *opts):
    """The zoo's config with few channels, proposals and pixels; widths stay multiples of 32."""
    cfg = get_cfg()
    add_scb_config(cfg)
    cfg.merge_from_file(str(ZOO / f"{name}.yaml"))
    model = cfg.MODEL
    model.DEVICE, model.WEIGHTS = "cpu", ""
    resnet = model.RESNETS
    resnet.STEM_OUT_CHANNELS = resnet.RES2_OUT_CHANNELS = 32
    resnet.WIDTH_PER_GROUP = 32 // resnet.NUM_GROUPS
    model.FPN.OUT_CHANNELS = 32
    model.ROI_BOX_HEAD.CONV_DIM = model.ROI_BOX_HEAD.FC_DIM = 32
    model.ROI_MASK_HEAD.CONV_DIM = model.SEM_SEG_HEAD.CONVS_DIM = 32
    model.ROI_KEYPOINT_HEAD.CONV_DIMS = (32, 32)
    model.RPN.PRE_NMS_TOPK_TRAIN, model.RPN.POST_NMS_TOPK_TRAIN = 50, 20
    model.ROI_HEADS.BATCH_SIZE_PER_IMAGE = 8
    cfg.merge_from_list(list(opts))
    return cfg


def enabled(name, *opts):
    return config(name, "MODEL.SCB.ENABLED", True, *opts)


def shapes(model):
    return {name: value.shape for name, value in model.state_dict().items()}


def zoo_batch(size=64):
    """Two images with whatever a zoo model may ask for; the second has no object."""
    data = []
    for boxes in ([[4, 6, 20, 25], [10, 12, 60, 55], [30, 4, 62, 20]], []):
        instances = Instances((size, size))
        instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
        instances.gt_classes = torch.zeros(len(boxes), dtype=torch.int64)
        masks = torch.zeros(len(boxes), size, size, dtype=torch.bool)
        keypoints = torch.zeros(len(boxes), 17, 3)
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            masks[i, y0:y1, x0:x1] = True
            keypoints[i] = torch.tensor([(x0 + x1) / 2, (y0 + y1) / 2, 2])
        instances.gt_masks, instances.gt_keypoints = BitMasks(masks), Keypoints(keypoints)
        proposals = Instances((size, size))
        proposals.proposal_boxes = Boxes(torch.tensor([[5.0, 6, 20, 24], [40, 40, 60, 60]]))
        proposals.objectness_logits = torch.zeros(2)
        sem_seg = torch.zeros(size, size, dtype=torch.int64)
        image = torch.rand(3, size, size) + 110
        data.append(
            {"image": image, "instances": instances, "proposals": proposals, "sem_seg": sem_seg}
        )
    return data


def assert_steps(cfg, stages):
    losses, gradients, scalars = train_step(build_model(cfg), zoo_batch())
    assert losses and all(torch.isfinite(x).all() for x in losses.values())
    assert gradients and all(torch.isfinite(g).all() for g in gradients.values())
    logged = {name.split("/")[1].split("_")[0] for name in scalars if name.startswith("scb/")}
    assert logged == set(stages)


def test_the_whole_zoo_is_listed():
    yamls = {str(path.relative_to(ZOO).with_suffix("")) for path in ZOO.rglob("*.yaml")}
    listed = [*STEPS, *BUILT_ONLY, *REFUSED]
    assert sorted(listed) == sorted(x for x in yamls if not Path(x).name.startswith("Base-"))
    assert len(listed) == 86


@pytest.mark.parametrize("name", STEPS)
def test_steps_with_stock_parameters(name):
    assert shapes(build_model(enabled(name))) == shapes(build_stock_model(config(name)))
    assert_steps(enabled(name), {"first"})


@pytest.mark.parametrize("name", BUILT_ONLY)
def test_builds_with_stock_parameters(name):
    assert shapes(build_model(enabled(name))) == shapes(build_stock_model(config(name)))


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    if name in DEFORMABLE and has_compiled_operators():
        assert shapes(build_model(enabled(name))) == shapes(build_stock_model(config(name)))
        return
    with pytest.raises(ConfigError) as error:
        build_model(enabled(name))
    assert REFUSED[name] in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", BOTH_STAGES)
def test_both_stages_step_with_stock_parameters(name):
    cfg = enabled(name, "MODEL.SCB.STAGES", ("first", "second"))
    assert shapes(build_model(cfg)) == shapes(build_stock_model(config(name)))
    assert_steps(cfg, {"first", "second"})


@pytest.mark.parametrize("stages", [("second",), ("first", "second")])
def test_precomputed_proposals_have_a_second_stage(stages, caplog):
    cfg = enabled(PRECOMPUTED[0], "MODEL.SCB.STAGES", stages)
    assert_steps(cfg, {"second"})
    assert ("first" in caplog.text) == ("first" in stages)
