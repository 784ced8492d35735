"""Each finding on a scene counted by hand, and not given where it does not apply."""

from __future__ import annotations

import numpy as np
import pytest

from scb_d2.advise.caps import advise_caps
from scb_d2.advise.classes import advise_classes
from scb_d2.advise.finding import Change
from scb_d2.advise.imbalance import advise_imbalance
from scb_d2.advise.input_size import advise_input_size
from scb_d2.advise.run import merged
from scb_d2.advise.thresholds import advise_thresholds, touching_pairs
from tests.advise.scene import Settings, data, matched, only, situation, squares, values

RESIZE = {
    "short_edges_train": [96, 128],
    "long_edge_train": 256,
    "short_edge_test": 128,
    "long_edge_test": 256,
}


class TestInputSize:
    def test_an_edge_of_10_px_is_brought_to_16(self):
        """Ten objects of 10 px: 1.6 times, rounded up to multiples of 32."""
        counts, now = data(squares(10, edge=10)), matched([10] * 10, [1] * 10, 0.4)
        finding, after = advise_input_size(
            situation(counts, Settings(**RESIZE), now, matched([17] * 10, [2] * 10, 0.6))
        )
        assert values(finding) == {
            "SHORT_EDGES_TRAIN": [160, 224],
            "LONG_EDGE_TRAIN": 416,
            "SHORT_EDGE_TEST": 224,
            "LONG_EDGE_TEST": 416,
        }
        assert finding.concerns == 1
        # 224 in place of 128 px: 1.75 times the edge, 3.1 times the pixels
        assert "10.0 -> 17.5 px" in finding.expected and "0.0% -> 100.0%" in finding.expected
        assert finding.cost.startswith("3.1 times the pixels")
        assert "1.8 times the images' own size" in finding.cost
        assert after is not None

    def test_native_pixels_that_are_left_are_not_called_upscaling(self):
        counts = data(squares(10, edge=10), native=4.0)
        finding, _ = advise_input_size(
            situation(counts, Settings(**RESIZE), matched([10] * 10, [1] * 10))
        )
        assert "own size" not in finding.cost

    def test_no_more_than_twice_the_edge_by_a_key_and_tiles_for_the_rest(self):
        """4 px would take four times the edge; the images are of 400 native px."""
        counts = data(squares(10, edge=4), native=4.0)
        finding, _ = advise_input_size(situation(counts, Settings(**RESIZE)))
        assert values(finding)["SHORT_EDGE_TEST"] == 256
        assert "16 px would take 4 times the edge, 16.0 times the pixels" in finding.action
        assert "Tiles of 96 native px" in finding.action

    def test_where_the_longer_edge_holds_an_image_back(self):
        counts = data(squares(10, edge=10))
        settings = Settings(**{**RESIZE, "short_edges_train": [120], "long_edge_train": 100})
        finding, _ = advise_input_size(situation(counts, settings))
        # 120 -> 192 px are never reached: the longest edge goes from 100 to 160 px.
        assert values(finding)["LONG_EDGE_TRAIN"] == 160
        assert "10.0 -> 16.0 px" in finding.expected and finding.title.endswith("1.6")

    def test_a_larger_test_size_stays(self):
        settings = Settings(**{**RESIZE, "short_edge_test": 800, "long_edge_test": 1333})
        finding, _ = advise_input_size(situation(data(squares(10, edge=10)), settings))
        assert set(values(finding)) == {"SHORT_EDGES_TRAIN", "LONG_EDGE_TRAIN"}

    def test_a_fixed_input_has_no_key_to_change(self):
        finding, after = advise_input_size(
            situation(data(squares(10, edge=10)), Settings(kind="ssd"))
        )
        assert not finding.changes and "SSD512" in finding.action and after is None

    def test_objects_of_16_px_are_large_enough(self):
        assert advise_input_size(situation(data(squares(10, edge=16)), Settings(**RESIZE))) == (
            None,
            None,
        )


class TestCaps:
    def test_more_objects_than_detections(self):
        """7 objects, 5 kept: 2 of the 9 in all are lost; 7 x 1.5 rounded up to 50."""
        counts = data(squares(7), squares(2))
        finding = only(advise_caps(situation(counts, Settings(detections_per_image=5))))
        assert values(finding) == {"DETECTIONS_PER_IMAGE": 50}
        assert finding.concerns == pytest.approx(2 / 9)
        assert "1 images hold more" in finding.measured and "2 of the 9" in finding.measured

    def test_more_objects_of_a_class_than_coco_counts(self):
        """Per class: 4 and 3 of two classes exceed 3 once, though the image holds 7."""
        image = [(box, i % 2) for i, box in enumerate(squares(7))]
        finding = only(advise_caps(situation(data(image), Settings(coco_max_dets=3))))
        change = only(finding.changes)
        assert (change.key, change.value, change.evaluation) == ("COCO_MAX_DETS", 50, True)
        assert finding.concerns == pytest.approx(1 / 7)

    def test_proposals_and_what_comes_before_nms(self):
        settings = Settings("rcnn", post_nms_topk_test=5, pre_nms_topk_test=60)
        finding = only(advise_caps(situation(data(squares(7)), settings)))
        # 2 x 7 x 1.5 = 21 -> 50, and at least twice that before NMS
        assert values(finding) == {"POST_NMS_TOPK_TEST": 50, "PRE_NMS_TOPK_TEST": 100}

    def test_candidates_of_a_level(self):
        now = matched([20] * 2, [1, 1], level_positives=[[30, 5], [8, 2]])
        counts = data(squares(2))
        finding = only(advise_caps(situation(counts, Settings(candidates=20), now)))
        assert values(finding) == {"CANDIDATES": 50}
        # 35 of the 45 matches lie in the image whose first level is full.
        assert finding.concerns == pytest.approx(35 / 45)
        assert not advise_caps(situation(counts, Settings(candidates=30), now))

    def test_candidates_that_the_advised_anchors_make_many(self):
        """Today's fit; where all advice is followed 30 match, or no longer do."""
        few = matched([20] * 2, [1, 1], level_positives=[[8, 5], [8, 2]])
        many = matched([20] * 2, [1, 1], level_positives=[[30, 5], [8, 2]])
        settings, counts = Settings(candidates=20), data(squares(2))
        finding = only(advise_caps(situation(counts, settings, few), many))
        assert not finding.changes and finding.changes_together[0].value == 50
        assert finding.measured.startswith("At the advised input or anchors: In 1 of 2 images")
        finding = only(advise_caps(situation(counts, settings, many), few))
        assert finding.changes[0].value == 50 and not finding.changes_together

    def test_regions_of_the_second_stage(self):
        """4 regions, a quarter of them foreground: 1 place for 3 objects."""
        settings = Settings("rcnn", roi_batch=4, roi_positive_fraction=0.25)
        finding = only(advise_caps(situation(data(squares(3)), settings)))
        # 3 x 1.5 / 0.25 = 18 -> 64
        assert values(finding) == {"ROI_BATCH": 64}
        assert finding.concerns == pytest.approx(2 / 3)

    def test_limits_that_are_met_exactly_are_no_finding(self):
        settings = Settings(
            "rcnn",
            detections_per_image=7,
            coco_max_dets=7,
            post_nms_topk_train=7,
            post_nms_topk_test=7,
            roi_batch=28,
            roi_positive_fraction=0.25,
        )
        assert not advise_caps(situation(data(squares(7)), settings))


class TestThresholds:
    # IoU of the pairs: 75 / 125 = 0.6 each.
    PAIRS = [
        box
        for i in range(10)
        for box in [(40 * i, 0, 40 * i + 10, 10), (40 * i + 2.5, 0, 40 * i + 12.5, 10)]
    ]

    def test_touching_objects_of_one_class(self):
        finding = only(advise_thresholds(situation(data(self.PAIRS), Settings(nms_threshold=0.5))))
        assert values(finding) == {"NMS_THRESHOLD": 0.6}
        assert "10 pairs of objects of one class, 20 objects" in finding.measured
        assert finding.expected.startswith("10 of the 10 pairs")
        # One of each pair is lost.
        assert finding.concerns == 0.5

    def test_other_classes_other_images_and_a_higher_threshold_do_not_touch(self):
        two_classes = data([(box, i % 2) for i, box in enumerate(self.PAIRS)])
        two_images = data(self.PAIRS[::2], self.PAIRS[1::2])
        for counts in (two_classes, two_images):
            assert not advise_thresholds(situation(counts, Settings(nms_threshold=0.5)))
        assert not advise_thresholds(situation(data(self.PAIRS), Settings(nms_threshold=0.6)))

    def test_pairs_that_no_threshold_keeps_apart(self):
        """Boxes of 10 that lie 1 apart: IoU 90 / 110 = 0.82."""
        boxes = [(i * 40 + d, 0, i * 40 + d + 10, 10) for i in range(5) for d in (0, 1)]
        finding = only(advise_thresholds(situation(data(boxes), Settings(nms_threshold=0.5))))
        assert not finding.changes and "5 pairs" in finding.measured
        assert finding.expected.startswith("0 of the 5 pairs")
        assert finding.action.startswith("No threshold up to 0.65")

    def test_the_same_box_twice_is_a_fault_of_the_annotation(self):
        twins = [(0, 100, 10, 110)] * 2
        finding = only(
            advise_thresholds(situation(data(self.PAIRS + twins), Settings(nms_threshold=0.5)))
        )
        assert "10 pairs" in finding.measured and finding.action.startswith("1 more pairs")

    @pytest.mark.parametrize("seed", range(5))
    def test_pairs_against_a_plain_loop(self, seed):
        rng = np.random.default_rng(seed)
        images = []
        for _ in range(4):
            corners, sides = rng.uniform(0, 60, (20, 2)), rng.uniform(5, 40, (20, 2))
            boxes = np.concatenate([corners, corners + sides], axis=1).tolist()
            images.append([(box, int(rng.integers(2))) for box in boxes])
        counts = data(*images)
        pairs, ious = touching_pairs(counts, 0.2)
        slow = {}
        for i in range(len(counts)):
            for j in range(i + 1, len(counts)):
                iou = _iou(counts.native_boxes[i], counts.native_boxes[j])
                same = (counts.image[i], counts.category[i]) == (
                    counts.image[j],
                    counts.category[j],
                )
                if same and iou > 0.2:
                    slow[i, j] = iou
        fast = {tuple(sorted(map(int, p))): iou for p, iou in zip(pairs, ious, strict=True)}
        assert fast == pytest.approx(slow) and len(slow) > 5

    def test_recall_at_a_score_that_is_never_kept(self):
        settings = Settings(score_threshold=0.05, recall_thresholds=[0.01, 0.1])
        finding = only(advise_thresholds(situation(data(squares(2)), settings)))
        change = only(finding.changes)
        assert (change.key, change.value, change.evaluation) == ("SCORE_THRESHOLD", 0.01, True)
        settings = Settings(score_threshold=0.05, recall_thresholds=[0.05])
        assert not advise_thresholds(situation(data(squares(2)), settings))


class TestClasses:
    def test_images_without_objects(self):
        counts = data(squares(1), [], [], squares(1))
        finding = only(advise_classes(situation(counts, Settings(filter_empty=True))))
        assert values(finding) == {"FILTER_EMPTY": False} and finding.concerns == 0.5
        assert not advise_classes(situation(counts, Settings(filter_empty=False)))

    def test_a_class_in_one_image_of_a_hundred(self):
        images = [squares(1) for _ in range(100)]
        images[7] = [(box, k) for k, box in enumerate(squares(2))]
        settings = Settings(sampler="TrainingSampler", repeat_threshold=0.0)
        finding = only(advise_classes(situation(data(*images), settings)))
        # min(0.05, 9 x 0.01); an image is repeated sqrt(0.05 / 0.01) times.
        assert values(finding) == {
            "SAMPLER": "RepeatFactorTrainingSampler",
            "REPEAT_THRESHOLD": 0.05,
        }
        lazy = only(advise_classes(situation(data(*images), Settings(sampler="TrainingSampler"))))
        assert not lazy.changes and "with the threshold 0.05 as its sampler" in lazy.action
        assert "class 1 (1 images, 1 objects)" in finding.measured
        assert "2.2 times an epoch" in finding.expected
        assert finding.concerns == pytest.approx(1 / 101) and "annotate more" in finding.action
        settings = Settings(sampler="RepeatFactorTrainingSampler", repeat_threshold=0.1)
        assert not advise_classes(situation(data(*images), settings))


class TestImbalance:
    def test_large_objects_that_match_four_times_as_often(self):
        """60 small objects with M 2 and 40 medium ones with M 8: 120 of 440 matches are small."""
        now = matched([20] * 60 + [50] * 40, [2] * 60 + [8] * 40)
        finding = advise_imbalance(situation(data(squares(1)), Settings(), now))
        assert values(finding) == {"MODEL.SCB.ENABLED": True}
        assert finding.concerns == pytest.approx(0.6 - 120 / 440)
        # (ln 8 + 1) / (ln 2 + 1) = 1.82
        assert "1.8 times that of a small one, from 4" in finding.expected

    def test_ties_that_turn_it_round(self):
        now = matched([20] * 60 + [50] * 40, [8] * 60 + [2] * 40)
        then = matched([20] * 60 + [50] * 40, [1] * 60 + [2] * 40, low_quality="reassign")
        finding = advise_imbalance(situation(data(squares(1)), Settings(), now, then))
        assert values(finding)["MODEL.SCB.LOW_QUALITY"] == "reassign"
        # of the matches that are left: 60 of 140 are small
        assert finding.concerns == pytest.approx(0.6 - 60 / 140)
        still = matched([20] * 60 + [50] * 40, [8] * 60 + [2] * 40, low_quality="reassign")
        assert advise_imbalance(situation(data(squares(1)), Settings(), now, still)) is None

    def test_matches_that_the_advised_anchors_make_uneven(self):
        now = matched([20] * 60 + [50] * 40, [4] * 100)
        then = matched([20] * 60 + [50] * 40, [2] * 60 + [8] * 40)
        finding = advise_imbalance(situation(data(squares(1)), Settings(), now), then)
        assert not finding.changes and finding.changes_together[0].key == "MODEL.SCB.ENABLED"
        assert finding.measured.startswith("At the advised input or anchors: Yes")

    @pytest.mark.parametrize(
        ("matches", "enabled"), [([8] * 100, False), ([2] * 60 + [8] * 40, True)]
    )
    def test_even_matches_or_a_loss_that_is_on_already(self, matches, enabled):
        now = matched([20] * 60 + [50] * 40, matches)
        settings = Settings(scb_enabled=enabled)
        assert advise_imbalance(situation(data(squares(1)), settings, now)) is None


def test_of_two_limits_for_one_key_the_larger_holds():
    changes = [
        Change("A", 100, ""),
        Change("B", [1], ""),
        Change("A", 300, ""),
        Change("A", 200, ""),
    ]
    assert {c.key: c.value for c in merged(changes)} == {"A": 300, "B": [1]}


def _iou(a, b):
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    overlap = sides.clip(min=0).prod()
    return overlap / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - overlap)
