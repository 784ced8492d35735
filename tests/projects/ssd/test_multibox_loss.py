import math

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.structures import Boxes
from detectron2.utils.events import EventStorage
from torch.nn import functional as F

from scb_d2 import ScaleBalancedWeight, object_weights
from scb_d2.projects.ssd import MultiBoxLoss, build_ssd_matcher, hard_negatives
from tests.projects.builders import objects

NUM_CLASSES = 3
CODER = Box2BoxTransform((10.0, 10.0, 5.0, 5.0))


def _grid() -> Boxes:
    """100 anchors of 16 px, 8 px apart, in 80 px."""
    y, x = torch.meshgrid(torch.arange(10) * 8.0, torch.arange(10) * 8.0, indexing="ij")
    corner = torch.stack([x, y], dim=-1).reshape(-1, 2)
    return Boxes(torch.cat([corner - 4, corner + 12], dim=1))


def _batch() -> list:
    """Objects of M = 1 and more, an image without objects, and one with a single object."""
    return [
        objects([(8, 8, 30, 30), (40, 40, 44, 44)], [0, 2], 80),
        objects([], [], 80),
        objects([(20, 20, 36, 36)], [1], 80),
    ]


def _predictions(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(3, 100, NUM_CLASSES + 1, generator=generator)
    return logits.requires_grad_(), torch.randn(3, 100, 4, generator=generator).requires_grad_()


def _loss(**kwargs) -> MultiBoxLoss:
    return MultiBoxLoss(num_classes=NUM_CLASSES, box2box_transform=CODER, **kwargs)


def _run(loss: MultiBoxLoss, logits: torch.Tensor, deltas: torch.Tensor, **kwargs) -> dict:
    anchors = _grid()
    labels, matched = loss.label_anchors(anchors, _batch(), build_ssd_matcher())
    with EventStorage(0) as storage:
        losses = loss(anchors.tensor, logits, labels, deltas, matched, **kwargs)
        names = set(storage.latest())
    return {"losses": losses, "labels": labels, "matched": matched, "names": names}


def _oracle(
    run: dict, logits: torch.Tensor, deltas: torch.Tensor, losses: str, ratio: float = 3
) -> list[float]:
    """Plain Python over anchors: (cls, box) summed and divided by the positives."""
    anchors, cls_sum, box_sum, num_positive = _grid().tensor, 0.0, 0.0, 0
    for image, (labels, matched) in enumerate(zip(run["labels"], run["matched"], strict=True)):
        log_probs = logits[image].detach().double().log_softmax(dim=1)
        background, positives = [], 0
        for r, label in enumerate(labels.tolist()):
            if label == NUM_CLASSES:
                background.append(-log_probs[r, NUM_CLASSES].item())
                continue
            positives += 1
            weight = matched.weights[r].item()
            cls_sum -= log_probs[r, label].item() * (weight if "cls" in losses else 1)
            targets = CODER.get_deltas(anchors[r : r + 1], matched.gt_boxes[r : r + 1])[0]
            for got, want in zip(deltas[image, r].tolist(), targets.tolist(), strict=True):
                error = abs(got - want)
                smooth = 0.5 * error**2 if error < 1 else error - 0.5
                box_sum += smooth * (weight if "box" in losses else 1)
        cls_sum += sum(sorted(background, reverse=True)[: int(ratio * positives)])
        num_positive += positives
    return [cls_sum / num_positive, box_sum / num_positive]


@pytest.mark.parametrize("weighted", [("cls", "box"), ("cls",), ("box",)])
def test_equals_plain_python(weighted: tuple[str, ...]) -> None:
    logits, deltas = _predictions()
    loss = _loss(object_weight=ScaleBalancedWeight(), weighted_losses=weighted)
    run = _run(loss, logits, deltas)
    expected = _oracle(run, logits, deltas, weighted)
    got = [run["losses"]["loss_cls"].item(), run["losses"]["loss_box_reg"].item()]
    assert got == pytest.approx(expected, rel=1e-5)
    assert "scb/first/num_objects" in run["names"]


def test_uniform_weight_of_one_is_plain_ssd_with_its_gradients() -> None:
    results = []
    for weight in (None, ScaleBalancedWeight("uniform", beta=1.0)):
        logits, deltas = _predictions()
        run = _run(_loss(object_weight=weight), logits, deltas)
        sum(run["losses"].values()).backward()
        results.append((*run["losses"].values(), logits.grad, deltas.grad))
    for plain, weighted in zip(*results, strict=True):
        assert torch.equal(plain, weighted)


def test_weights_leave_the_negatives_alone() -> None:
    """Gradients on negatives are the same, so are their choice and the divisor."""
    gradients = []
    for weight in (None, ScaleBalancedWeight(beta=7.0)):
        logits, deltas = _predictions()
        run = _run(_loss(object_weight=weight), logits, deltas)
        run["losses"]["loss_cls"].backward()
        gradients.append(logits.grad[torch.stack(run["labels"]) == NUM_CLASSES])
    assert torch.equal(*gradients)
    assert (gradients[0].abs().sum(dim=1) > 0).sum() == 3 * sum(
        (x != NUM_CLASSES).sum().item() for x in run["labels"]
    )


def test_mean_one_cancels_beta() -> None:
    results = []
    for beta in (1.0, 5.0):
        logits, deltas = _predictions()
        loss = _loss(object_weight=ScaleBalancedWeight(beta=beta), weight_normalizer="mean_one")
        results.append(list(_run(loss, logits, deltas)["losses"].values()))
    assert torch.allclose(torch.stack(results[0]), torch.stack(results[1]))


def test_uniform_beta_scales_the_positives_only() -> None:
    logits, deltas = _predictions()
    plain = _run(_loss(), logits, deltas)["losses"]
    tripled = _run(_loss(object_weight=ScaleBalancedWeight("uniform", beta=3.0)), logits, deltas)
    assert torch.allclose(tripled["losses"]["loss_box_reg"], 3 * plain["loss_box_reg"])
    assert plain["loss_cls"] < tripled["losses"]["loss_cls"] < 3 * plain["loss_cls"]


def test_image_without_objects_contributes_nothing() -> None:
    logits, deltas = _predictions()
    run = _run(_loss(object_weight=ScaleBalancedWeight()), logits, deltas)
    sum(run["losses"].values()).backward()
    assert (logits.grad[1] == 0).all() and (deltas.grad[1] == 0).all()
    assert (deltas.grad[2] != 0).any()


def test_batch_without_objects_has_zero_loss_and_gradients() -> None:
    logits, deltas = _predictions()
    loss = _loss(object_weight=ScaleBalancedWeight())
    anchors = _grid()
    labels, matched = loss.label_anchors(anchors, [objects([])] * 3, build_ssd_matcher())
    with EventStorage(0):
        losses = loss(anchors.tensor, logits, labels, deltas, matched)
    assert losses["loss_cls"] == 0 and losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    assert (logits.grad == 0).all() and (deltas.grad == 0).all()


def test_weights_are_those_of_the_formula() -> None:
    run = _run(_loss(object_weight=ScaleBalancedWeight()), *_predictions())
    for labels, matched in zip(run["labels"], run["matched"], strict=True):
        counts = matched.match_counts
        for index, label in enumerate(labels.unique().tolist()[: len(counts)]):
            weight = object_weights(counts, "information", 1.0, 3.0)[index]
            assert torch.allclose(matched.weights[labels == label], weight)


def test_anchors_may_differ_between_images() -> None:
    """RefineDet's second stage: as many anchors, other places."""
    logits, deltas = _predictions()
    loss = _loss(object_weight=ScaleBalancedWeight())
    anchors = [Boxes(_grid().tensor + shift) for shift in (0.0, 1.0, 2.0)]
    labels, matched = loss.label_anchors(anchors, _batch(), build_ssd_matcher())
    with EventStorage(0):
        together = loss(torch.stack([x.tensor for x in anchors]), logits, labels, deltas, matched)
        last = loss(anchors[2].tensor, logits[2:], labels[2:], deltas[2:], matched[2:])
        first = loss(anchors[0].tensor, logits[:1], labels[:1], deltas[:1], matched[:1])
    counts = [(x != NUM_CLASSES).sum() for x in labels]
    expected = (first["loss_box_reg"] * counts[0] + last["loss_box_reg"] * counts[2]) / sum(counts)
    assert torch.allclose(together["loss_box_reg"], expected)


def test_only_mineable_negatives_are_mined() -> None:
    logits, deltas = _predictions()
    mineable = torch.zeros(3, 100, dtype=torch.bool)
    mineable[:, :2] = True
    run = _run(_loss(), logits, deltas, mineable=mineable)
    run["losses"]["loss_cls"].backward()
    negatives = (torch.stack(run["labels"]) == NUM_CLASSES) & (logits.grad.abs().sum(dim=2) > 0)
    assert not (negatives & ~mineable).any()
    assert negatives.any()


def test_hard_negatives_take_the_highest_scores() -> None:
    scores = torch.tensor([[0.1, 0.9, 0.5, 0.7], [0.3, 0.2, 0.1, 0.4]])
    candidates = torch.tensor([[True, True, True, False], [True, True, True, True]])
    chosen = hard_negatives(scores, candidates, torch.tensor([2.0, 0.0]))
    assert chosen.tolist() == [[False, True, True, False], [False] * 4]
    everything = hard_negatives(scores, candidates, torch.tensor([9.0, 9.0]))
    assert torch.equal(everything, candidates)


@pytest.mark.parametrize("ratio", [0.7, 2.9])
def test_a_fraction_of_a_negative_is_dropped(ratio: float) -> None:
    """As Caffe's cast to int does."""
    logits, deltas = _predictions()
    run = _run(_loss(neg_pos_ratio=ratio), logits, deltas)
    expected = _oracle(run, logits, deltas, "", ratio)
    assert run["losses"]["loss_cls"].item() == pytest.approx(expected[0], rel=1e-5)


def test_ties_do_not_change_how_many_are_mined() -> None:
    chosen = hard_negatives(
        torch.zeros(2, 50), torch.ones(2, 50, dtype=torch.bool), torch.tensor([6.0, 9.0])
    )
    assert chosen.sum(dim=1).tolist() == [6, 9]


def test_half_precision_predictions() -> None:
    logits, deltas = (x.detach().bfloat16() for x in _predictions())
    losses = _run(_loss(object_weight=ScaleBalancedWeight()), logits, deltas)["losses"]
    assert all(x.dtype == torch.float32 and math.isfinite(x) for x in losses.values())
    reference = F.cross_entropy(logits.float()[0], torch.full((100,), NUM_CLASSES))
    assert reference > 0
