"""A detector without weights, and images whose boxes can be matched by hand."""

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from detectron2.structures import BoxMode
from torch import nn

from scb_d2.loss.scale_balanced_matcher import ScaleBalancedMatcher
from scb_d2.matches.anchors import AnchorGeometry


class Backbone(nn.Module):
    """Feature maps of stride 8 and 16, as convolutions with padding would make them."""

    size_divisibility = 16
    padding_constraints = {}

    def forward(self, images):
        height, width = images.shape[-2:]
        return {f"p{s}": images.new_zeros(1, 1, height // s, width // s) for s in (8, 16)}


class Detector(nn.Module):
    head_in_features = ("p8", "p16")

    def __init__(self, low_quality="stock", thresholds=(0.4, 0.5), labels=(0, -1, 1)):
        super().__init__()
        self.backbone = Backbone()
        self.anchor_generator = DefaultAnchorGenerator(
            sizes=[[16], [32]], aspect_ratios=[0.25, 1.0, 4.0], strides=[8, 16]
        )
        self.anchor_matcher = ScaleBalancedMatcher(
            thresholds,
            labels,
            allow_low_quality_matches=low_quality != "off",
            low_quality="stock" if low_quality == "off" else low_quality,
        )


def geometry(*args, **kwargs):
    return AnchorGeometry(Detector(*args, **kwargs))


def record(boxes, classes=None, size=(64, 96), image_id=1, crowd=(), file_name=""):
    """An image of (height, width) with XYXY boxes; ids run from 100 * image_id."""
    return {
        "image_id": image_id,
        "file_name": file_name,
        "height": size[0],
        "width": size[1],
        "annotations": [
            {
                "id": 100 * image_id + i,
                "bbox": list(box),
                "bbox_mode": BoxMode.XYXY_ABS,
                "category_id": classes[i] if classes else 0,
                "iscrowd": int(i in crowd),
            }
            for i, box in enumerate(boxes)
        ],
    }


def random_records(count, seed=0, size=(64, 96)):
    generator = torch.Generator().manual_seed(seed)
    records = []
    for image_id in range(count):
        number = int(torch.randint(0, 5, (1,), generator=generator))
        low = torch.rand(number, 2, generator=generator) * torch.tensor([70.0, 40.0])
        extent = 2 + torch.rand(number, 2, generator=generator) ** 2 * 60
        # Whole numbers, as the anchors': ties of IoU are then the same in any precision.
        boxes = torch.cat([low, low + extent], dim=1).round().tolist()
        classes = torch.randint(0, 2, (number,), generator=generator).tolist()
        records.append(record(boxes, classes, size, image_id))
    return records
