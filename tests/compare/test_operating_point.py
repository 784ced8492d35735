"""Where recall is compared."""

from pathlib import Path

import pytest

from scb_d2.compare.operating_point import OperatingPoint
from scb_d2.compare.run import compare_arms
from scb_d2.compare.run_files import Run
from scb_d2.compare.runs import Arms
from scb_d2.compare.settings import CompareSettings
from scb_d2.data.reader.detections import load_detections
from scb_d2.data.reader.ground_truth import load_ground_truth
from scb_d2.errors import ConfigError

from .simulated_runs import scene


@pytest.mark.parametrize("text", ["0.3", "baseline", "fp@", "fp@x", "fp@-1", "score@inf"])
def test_malformed_operating_points(text):
    with pytest.raises(ConfigError, match="operating point"):
        OperatingPoint.parse(text)


def test_recall_at_the_baselines_false_positives_of_the_size():
    data = scene(2)
    truth = load_ground_truth(data)
    small, other, medium = (row["bbox"] for row in data["annotations"][:3])
    miss, large_miss = [250.0, 150.0, 30.0, 30.0], [150.0, 100.0, 99.0, 99.0]

    def rows(*pairs):
        results = [{"image_id": 1, "category_id": 1, "bbox": box, "score": s} for box, s in pairs]
        return load_detections(results, truth)

    # From score 0.3 the baseline has one false positive, a small box. The candidate finds the
    # second small object before its second small false positive; its large one does not matter.
    base = rows((small, 0.9), (miss, 0.5), (other, 0.1), (medium, 0.1))
    cand = rows(
        (small, 0.95), (large_miss, 0.9), (miss, 0.8), (other, 0.7), (miss, 0.6), (medium, 0.65)
    )
    run = Run("x", Path("results.json"), {}, None)
    arms = Arms(truth, None, ((run, run),), ((base, cand),), None)
    result = compare_arms(arms, CompareSettings(resamples=0)).result["metrics"]
    sizes = ("small", "medium", "all")
    found = {s: result[f"recall_{s}_fp=baseline@0.3"] for s in sizes}
    assert [found[s]["baseline"][0] for s in sizes] == pytest.approx([25, 0, 100 / 6])
    # Medium: no false positive of that size at all, so everything counts.
    assert [found[s]["candidate"][0] for s in sizes] == pytest.approx([50, 50, 100 / 6])
