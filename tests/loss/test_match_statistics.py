import pytest
import torch
from detectron2.modeling.matcher import Matcher
from detectron2.utils.events import EventStorage

from scb_d2 import MatchStatistics
from scb_d2.loss.match_statistics import warn_if_all_positive
from scb_d2.utils.size_groups import size_index


def log(statistics, counts, weights, losses, boxes):
    with EventStorage(5) as storage:
        statistics.log(
            torch.tensor(counts, dtype=torch.int64),
            torch.tensor(weights),
            torch.tensor(losses),
            torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        )
        return {name: value for name, (value, _) in storage.latest().items()}


def test_values_by_hand():
    boxes = [[0, 0, 10, 10], [5, 5, 36.9, 37], [0, 0, 32, 32], [0, 0, 96, 96]]
    values = log(MatchStatistics("first"), [0, 1, 3, 6], [3.0, 1, 1, 1], [2.0, 1, 3, 4], boxes)
    assert values == pytest.approx(
        {
            "scb/first/num_objects": 4,
            "scb/first/unmatched": 1,
            "scb/first/matches_p10": 0.3,
            "scb/first/matches_p50": 2,
            "scb/first/matches_p90": 5.1,
            "scb/first/mean_weight": 1.5,
            "scb/first/loss_share_input_small": 0.3,
            "scb/first/loss_share_input_medium": 0.3,
            "scb/first/loss_share_input_large": 0.4,
        }
    )


def test_nothing_without_a_value():
    assert log(MatchStatistics("second"), [], [], [], []) == {
        "scb/second/num_objects": 0,
        "scb/second/unmatched": 0,
    }
    values = log(MatchStatistics("second"), [0], [], [], [])
    assert "scb/second/mean_weight" not in values and values["scb/second/matches_p50"] == 0


def test_size_limits():
    area = torch.tensor([0.0, 1023.9, 1024, 9215.9, 9216, 1e6])
    assert size_index(area).tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("parts", ["both", "losses"])
def test_schedule(parts):
    statistics, logged = MatchStatistics("first", period=4, max_iter=11), []
    with EventStorage(2) as storage:  # a resumed run
        for iteration in range(2, 11):
            storage.iter = iteration
            if statistics.due():
                logged.append(iteration)
                if parts == "both":
                    statistics.log_matches(torch.tensor([1]))
                    assert statistics.due()
                statistics.log_losses(torch.ones(1), torch.ones(1), torch.ones(1, 4))
    assert logged == [2, 4, 8, 10]


def test_rank_0_only(monkeypatch):
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: 1)
    with EventStorage():
        assert not MatchStatistics("first").due()


def test_warning_when_all_anchors_are_positive(caplog):
    matcher = Matcher([0.5], [0, 1], allow_low_quality_matches=True)
    warn_if_all_positive(99, 100, matcher)
    assert not caplog.records
    warn_if_all_positive(103, 100, matcher)
    warn_if_all_positive(103, 100, matcher)
    assert [r.getMessage() for r in caplog.records] == [
        "103 positive anchors in one batch, where an image has 100: an object that overlaps no "
        "anchor ties with all of them at IoU 0, and Detectron2's rule for low-quality matches then "
        "makes them all positive. Look at the data with `scb-d2 matches`, or set "
        "MODEL.SCB.LOW_QUALITY to 'reassign'."
    ]
