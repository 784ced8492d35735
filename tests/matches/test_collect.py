import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, pairwise_iou

from scb_d2.matches.collect import best_ious, collect_matches, match_image
from scb_d2.matches.network_input import FixedInput
from scb_d2.utils.size_groups import SIZE_NAMES
from tests.matches.scene import geometry, random_records, record
from tests.oracle import count_matches, iou, match

NATIVE = FixedInput(None, None, "native")


def collect(records, shape, **kwargs):
    return collect_matches(records, shape, NATIVE, ["cat", "dog"], **kwargs)


@pytest.mark.parametrize("low_quality", ["stock", "reassign", "off"])
def test_counts_equal_plain_python_anchor_by_anchor(low_quality):
    shape = geometry(low_quality)
    records = random_records(12)
    expected_sizes, expected_classes, expected_levels, covered, objects = {}, {}, {}, 0, 0
    for item in records:
        size = (item["height"], item["width"])
        anchors = shape.anchors(size)
        boxes = [
            [max(0, x0), max(0, y0), min(size[1], x1), min(size[0], y1)]
            for x0, y0, x1, y1 in (a["bbox"] for a in item["annotations"])
        ]
        if not boxes:
            continue
        quality = [[iou(box, a) for a in anchors.boxes.tensor.tolist()] for box in boxes]
        rule = None if low_quality == "off" else low_quality
        matched_idxs, labels = match(quality, [0.4, 0.5], [0, -1, 1], rule)
        counts = count_matches(matched_idxs, labels, len(boxes))
        split = anchors.level_starts[1]
        for i, box in enumerate(boxes):
            side = ((box[2] - box[0]) * (box[3] - box[1])) ** 0.5
            size_index = 0 if side < 32 else 1 if side < 96 else 2
            key = (size_index, counts[i])
            expected_sizes[key] = expected_sizes.get(key, 0) + 1
            key = (item["annotations"][i]["category_id"], counts[i])
            expected_classes[key] = expected_classes.get(key, 0) + 1
            fine = count_matches(matched_idxs[:split], labels[:split], len(boxes))[i]
            for key in ((0, fine), (1, counts[i] - fine)):
                expected_levels[key] = expected_levels.get(key, 0) + 1
            covered += max(quality[i]) >= 0.5
            objects += 1
    tally = collect(records, shape)
    assert dict(tally.by_size) == expected_sizes
    assert dict(tally.by_class) == expected_classes
    assert dict(tally.by_level) == expected_levels
    assert tally.num_objects == objects == tally.iou_histogram.sum()
    assert tally.covered.sum() == covered
    assert tally.num_images == 12
    assert tally.empty_images == sum(not item["annotations"] for item in records)


def test_every_total_is_the_number_of_objects():
    tally = collect(random_records(20, seed=3), geometry())
    per_level = [sum(n for (lv, _), n in tally.by_level.items() if lv == i) for i in range(2)]
    assert sum(tally.by_class.values()) == tally.num_objects
    assert per_level == [tally.num_objects] * 2
    matches = sum(m * n for (_, m), n in tally.by_size.items())
    assert sum(tally.level_matches.values()) == matches


def test_crowds_and_empty_boxes_are_left_out_as_in_training():
    item = record([(0, 0, 20, 20), (5, 5, 5, 30), (10, 10, 40, 40)], crowd=(2,))
    tally = collect([item], geometry())
    assert tally.num_objects == 1
    assert tally.left_out == 2


def test_object_that_overlaps_no_anchor_makes_all_positive_in_stock_only():
    # Anchors end where the padded image does; a box beyond it overlaps none. Such boxes are clipped
    # from images, so the feature maps end early here.
    far = record([(10, 10, 26, 26), (94.99, 0, 95.0, 0.01)], size=(64, 96))

    class Early(torch.nn.Module):
        size_divisibility = 0
        padding_constraints = {}

        def forward(self, images):
            return {name: images.new_zeros(1, 1, 2, 2) for name in ("p8", "p16")}

    for rule, everything in (("stock", True), ("reassign", False)):
        shape = geometry(rule)
        shape.backbone = Early()
        tally = collect([far], shape)
        assert tally.no_overlap.tolist() == [1, 0, 0]
        assert tally.all_positive_images == int(everything)
        assert [o["annotation_id"] for o in tally.no_overlap_objects] == [101]
        num_anchors = len(shape.anchors((64, 96)).boxes)
        counts = match_image(far, shape, NATIVE, "input").counts
        assert (counts.sum() == num_anchors) is np.bool_(everything)
        assert counts[1] == 0


def test_lists_are_capped_and_counts_are_not():
    records = [record([(0, 0, 1.5, 1.5)], image_id=i) for i in range(5)]
    tally = collect(records, geometry("off"), max_listed=2, max_samples=3)
    assert sum(n for (_, m), n in tally.by_size.items() if m == 0) == 5
    assert [o["image_id"] for o in tally.unmatched_objects] == [0, 1]
    assert [s.image_id for s in tally.samples] == [0, 1, 2]
    assert tally.num_uncovered == 5


def test_sizes_native_or_at_the_input():
    from detectron2.data import transforms as T

    half = FixedInput(T.Resize((32, 48)), None, "half")
    item = record([(0, 0, 40, 40)])
    for rule, name in (("input", "small"), ("native", "medium")):
        matches = match_image(item, geometry(), half, rule)
        assert SIZE_NAMES[matches.sizes[0]] == name


def test_best_iou_is_detectron2s():
    boxes = torch.rand(7, 4) * 40
    boxes[:, 2:] += boxes[:, :2]
    anchors = geometry().anchors((64, 96)).boxes
    expected = pairwise_iou(Boxes(boxes), anchors).amax(dim=1)
    assert torch.equal(best_ious(Boxes(boxes), anchors), expected)


def test_memory_of_the_counts_does_not_grow_with_the_images():
    few, many = (collect(random_records(n) * 1, geometry(), max_listed=5) for n in (20, 60))
    for name in ("unmatched_objects", "no_overlap_objects", "samples"):
        assert len(getattr(many, name)) <= 6
    assert few.iou_histogram.shape == many.iou_histogram.shape
