"""Both stages' losses: against plain Python, their weighting, and what gradients reach."""

import math
from typing import Any

import pytest
import torch
from detectron2.structures import pairwise_iou
from detectron2.utils.events import EventStorage
from hypothesis import given, settings
from hypothesis import strategies as st

from scb_d2 import match_counts
from scb_d2.projects.refinedet import is_negative_anchor, refine_anchors
from tests.projects.builders import objects, training_input

from .builders import (
    BOTH_STAGES,
    NUM_ANCHORS,
    losses_of,
    random_predictions,
    scene,
    toy_anchors,
    toy_refinedet,
)

GT = [
    objects([(10, 10, 40, 40), (60, 60, 130, 140), (100, 20, 112, 30)], [0, 1, 2]),
    objects([(30, 70, 90, 120)], [3]),
]
ARM_LOSSES = ("loss_arm_cls", "loss_arm_loc")
ODM_LOSSES = ("loss_odm_cls", "loss_odm_loc")


def _oracle_match(gt, anchors: torch.Tensor) -> list[int]:
    """Index of the object of each anchor or -1, by loops: IoU >= 0.5, then one anchor each."""
    iou = pairwise_iou(gt.gt_boxes, type(gt.gt_boxes)(anchors)).T.tolist()
    owner = [max(range(len(row)), key=row.__getitem__) if row else -1 for row in iou]
    owner = [g if g >= 0 and row[g] >= 0.5 else -1 for g, row in zip(owner, iou, strict=True)]
    for g in range(len(gt)):
        best = max(range(len(iou)), key=lambda r: iou[r][g])
        if iou[best][g] > 0:
            owner[best] = g
    return owner


def _smooth_l1(x: float) -> float:
    return 0.5 * x * x if abs(x) < 1 else abs(x) - 0.5


def _box_loss(anchor: list[float], deltas: list[float], box: list[float]) -> float:
    w, h = anchor[2] - anchor[0], anchor[3] - anchor[1]
    gw, gh = box[2] - box[0], box[3] - box[1]
    targets = (
        10 * ((box[0] + box[2]) / 2 - (anchor[0] + anchor[2]) / 2) / w,
        10 * ((box[1] + box[3]) / 2 - (anchor[1] + anchor[3]) / 2) / h,
        5 * math.log(gw / w),
        5 * math.log(gh / h),
    )
    return sum(_smooth_l1(d - t) for d, t in zip(deltas, targets, strict=True))


def _oracle_stage(gts, anchors, logits, deltas, weigh, mineable=None) -> tuple[float, float]:
    """Loss of one stage by loops; ``weigh`` maps M to W; the last logit is background."""
    num_positives, cls, box = 0, 0.0, 0.0
    nll = -logits.detach().double().log_softmax(dim=-1)
    for n, gt in enumerate(gts):
        owner = _oracle_match(gt, anchors[n])
        positives = [r for r, g in enumerate(owner) if g >= 0]
        num_positives += len(positives)
        for r in positives:
            w = weigh(owner.count(owner[r]))
            cls += w * nll[n, r, gt.gt_classes[owner[r]]].item()
            gt_box = gt.gt_boxes.tensor[owner[r]].tolist()
            box += w * _box_loss(anchors[n, r].tolist(), deltas[n, r].tolist(), gt_box)
        negatives = [
            nll[n, r, -1].item()
            for r, g in enumerate(owner)
            if g < 0 and (mineable is None or mineable[n, r])
        ]
        cls += sum(sorted(negatives, reverse=True)[: 3 * len(positives)])
    return cls / max(num_positives, 1), box / max(num_positives, 1)


def _oracle(model, arm_logits, arm_deltas, odm_logits, odm_deltas, arm_w, odm_w) -> dict:
    anchors = toy_anchors(model).tensor.expand(len(GT), -1, -1)
    agnostic = [objects(x.gt_boxes.tensor) for x in GT]
    refined = refine_anchors(anchors[0], arm_deltas, model.box2box_transform)
    mineable = arm_logits.detach().softmax(dim=-1)[..., 0] >= 0.01
    arm = _oracle_stage(agnostic, anchors, arm_logits, arm_deltas, arm_w)
    odm = _oracle_stage(GT, refined, odm_logits, odm_deltas, odm_w, mineable)
    return dict(zip(ARM_LOSSES + ODM_LOSSES, arm + odm, strict=True))


def _plain(m: int) -> float:
    return 1.0


def _information(m: int) -> float:
    return 3 * (math.log(m) + 1) / m


@pytest.mark.parametrize(
    ("opts", "arm_w", "odm_w"),
    [
        ((), _plain, _plain),
        (("MODEL.SCB.ENABLED", True), _information, _plain),
        (("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", ("second",)), _plain, _information),
        (BOTH_STAGES, _information, _information),
    ],
    ids=["off", "arm", "odm", "both"],
)
def test_losses_equal_plain_python(opts, arm_w, odm_w) -> None:
    model = toy_refinedet(*opts)
    predictions = random_predictions(2)
    with torch.no_grad():
        predictions[0] *= 3  # so that some anchors are filtered
        predictions[1] *= 0.5
    filtered = is_negative_anchor(predictions[0], 0.99).sum().item()
    assert 0 < filtered < 2 * NUM_ANCHORS
    losses, _ = losses_of(model, GT, *predictions)
    expected = _oracle(model, *predictions, arm_w, odm_w)
    assert set(losses) == set(expected)
    for name, value in losses.items():
        assert value.item() == pytest.approx(expected[name], rel=1e-4), name


def _model_losses(*opts: Any) -> tuple[dict[str, float], list[torch.Tensor]]:
    model = toy_refinedet(*opts)
    torch.manual_seed(1)
    with EventStorage():
        losses = model(scene())
    grads = torch.autograd.grad(sum(losses.values()), list(model.parameters()))
    return {name: loss.item() for name, loss in losses.items()}, list(grads)


def test_uniform_weights_of_one_change_nothing() -> None:
    """Off and W = 1 give the same bits, losses and gradients."""
    uniform = (*BOTH_STAGES, "MODEL.SCB.FORM", "uniform", "MODEL.SCB.BETA", 1.0)
    off, off_grads = _model_losses()
    weighted, grads = _model_losses(*uniform)
    assert weighted == off
    assert all(torch.equal(a, b) for a, b in zip(off_grads, grads, strict=True))


def test_a_stage_weights_its_own_losses_only() -> None:
    off, _ = _model_losses()
    for stages, weighted, untouched in (
        (("first",), ARM_LOSSES, ODM_LOSSES),
        (("second",), ODM_LOSSES, ARM_LOSSES),
    ):
        losses, _ = _model_losses("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", stages)
        assert all(losses[name] != off[name] for name in weighted)
        assert all(losses[name] == off[name] for name in untouched)


def test_losses_key_applies_to_both_stages() -> None:
    off, _ = _model_losses()
    losses, _ = _model_losses(*BOTH_STAGES, "MODEL.SCB.LOSSES", ("cls",))
    changed = {name for name in off if losses[name] != off[name]}
    assert changed == {"loss_arm_cls", "loss_odm_cls"}


def test_odm_gradients_do_not_reach_the_arm_heads() -> None:
    model = toy_refinedet(*BOTH_STAGES)
    with EventStorage():
        losses = model(scene())
    odm = losses["loss_odm_cls"] + losses["loss_odm_loc"]
    arm_parameters = list(model.head.arm.parameters())
    grads = torch.autograd.grad(odm, arm_parameters, retain_graph=True, allow_unused=True)
    assert all(grad is None for grad in grads)
    trunk = torch.autograd.grad(odm, model.backbone.vgg.conv1_1.weight, retain_graph=True)
    assert trunk[0].abs().sum() > 0
    arm = torch.autograd.grad(losses["loss_arm_loc"], model.head.arm.bbox_pred[0].weight)
    assert arm[0].abs().sum() > 0


def test_the_odm_loss_depends_on_the_refined_anchors_by_value() -> None:
    """Detached is not ignored: other ARM deltas give other ODM losses."""
    model = toy_refinedet()
    predictions = random_predictions(2)
    before, _ = losses_of(model, GT, *predictions)
    predictions[1] = predictions[1].detach() + 1.0
    after, _ = losses_of(model, GT, *predictions)
    assert all(before[name] != after[name] for name in ODM_LOSSES)


@given(seed=st.integers(0, 10_000), share=st.sampled_from([0.0, 0.5, 0.99, 1.0]))
@settings(max_examples=8)
def test_filtered_negatives_are_not_mined_and_positives_stay(seed: int, share: float) -> None:
    torch.manual_seed(seed)
    model = toy_refinedet()
    _, arm_deltas, odm_logits, odm_deltas = random_predictions(2)
    filtered = torch.rand(2, NUM_ANCHORS) < share
    # p_obj is 1 / (1 + e^5) = 0.0067 < 0.01 where filtered, else 1 / (1 + e^4) = 0.018.
    arm_logits = torch.stack([torch.zeros(2, NUM_ANCHORS), torch.where(filtered, 5.0, 4.0)], dim=-1)
    losses, _ = losses_of(model, GT, arm_logits, arm_deltas, odm_logits, odm_deltas)
    (grad,) = torch.autograd.grad(losses["loss_odm_cls"], odm_logits)
    used = grad.abs().sum(dim=-1) > 0
    refined = refine_anchors(toy_anchors(model).tensor, arm_deltas, model.box2box_transform)
    owners = [_oracle_match(gt, boxes) for gt, boxes in zip(GT, refined, strict=True)]
    positive = torch.tensor(owners) >= 0
    assert used[positive].all()
    assert not (used & ~positive & filtered).any()
    num_mined = (used & ~positive).sum(dim=1)
    num_left = (~positive & ~filtered).sum(dim=1)
    assert torch.equal(num_mined, torch.minimum(3 * positive.sum(dim=1), num_left))


def test_threshold_of_one_filters_nothing() -> None:
    logits = torch.tensor([[[-50.0, 50.0], [0.0, 4.0], [0.0, 5.0]]])
    assert not is_negative_anchor(logits, 1.0).any()
    assert is_negative_anchor(logits, 0.99).tolist() == [[True, False, True]]


def _logged(storage: EventStorage, stage: str) -> dict[str, float]:
    prefix = f"scb/{stage}/"
    return {
        name.removeprefix(prefix): value
        for name, (value, _) in storage.latest().items()
        if name.startswith(prefix)
    }


def test_matches_of_the_odm_are_counted_on_refined_anchors() -> None:
    model = toy_refinedet(*BOTH_STAGES)
    anchors = toy_anchors(model)
    arm_logits, _, odm_logits, odm_deltas = random_predictions(2)
    # Halves every anchor's height and moves it by a tenth of its width.
    arm_deltas = torch.tensor([1.0, 0.0, 0.0, -5 * math.log(2)]).expand(2, NUM_ANCHORS, 4)
    _, storage = losses_of(model, GT, arm_logits, arm_deltas, odm_logits, odm_deltas)
    arm, odm = _logged(storage, "arm"), _logged(storage, "odm")
    for logged, deltas in ((arm, torch.zeros_like(arm_deltas)), (odm, arm_deltas)):
        boxes = refine_anchors(anchors.tensor, deltas, model.box2box_transform)
        weights = []
        for gt, of_image in zip(GT, boxes, strict=True):
            owner = torch.tensor(_oracle_match(gt, of_image))
            counts = match_counts(owner, (owner >= 0).int(), len(gt)).tolist()
            weights += [_information(m) for m in counts for _ in range(m)]
        assert logged["mean_weight"] == pytest.approx(sum(weights) / len(weights), rel=1e-5)
        assert logged["num_objects"] == 4
    assert arm["mean_weight"] != odm["mean_weight"]


def test_anchors_refined_away_leave_objects_unmatched_in_the_odm_only() -> None:
    model = toy_refinedet(*BOTH_STAGES)
    arm_logits, _, odm_logits, odm_deltas = random_predictions(2)
    arm_deltas = torch.zeros(2, NUM_ANCHORS, 4)
    arm_deltas[..., 0] = 1000.0
    losses, storage = losses_of(model, GT, arm_logits, arm_deltas, odm_logits, odm_deltas)
    assert _logged(storage, "arm")["unmatched"] == 0
    assert _logged(storage, "odm")["unmatched"] == 4
    assert losses["loss_odm_cls"] == 0 and losses["loss_odm_loc"] == 0


def test_only_weighted_stages_log_statistics() -> None:
    for stages, expected in ((("first",), {"arm"}), (("second",), {"odm"})):
        model = toy_refinedet("MODEL.SCB.ENABLED", True, "MODEL.SCB.STAGES", stages)
        with EventStorage() as storage:
            model(scene())
        names = {x for x in storage.latest() if x.startswith("scb/")}
        assert {x.split("/")[1] for x in names} == expected
        assert {"arm/num_pos_anchors", "odm/num_pos_anchors"} <= set(storage.latest())


@pytest.mark.parametrize("opts", [(), BOTH_STAGES], ids=["off", "both"])
@pytest.mark.parametrize(
    "batch",
    [
        [training_input([])],
        [training_input([(20, 20, 60, 60)])],
        [training_input([]), training_input([(20, 20, 60, 60)])],
    ],
    ids=["no objects", "batch of one", "one without objects"],
)
def test_gradients_exist_for_every_parameter(batch, opts) -> None:
    model = toy_refinedet(*opts)
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert all(loss.isfinite() for loss in losses.values())
    assert all(x.grad is not None and x.grad.isfinite().all() for x in model.parameters())
    if not any(len(x["instances"]) for x in batch):
        assert all(loss == 0 for loss in losses.values())


def test_diverged_deltas_break_no_matching() -> None:
    """Refined anchors that are not finite or have no area match nothing and stop nothing."""
    model = toy_refinedet()
    arm_logits, arm_deltas, odm_logits, odm_deltas = random_predictions(2)
    with torch.no_grad():
        arm_deltas[0, ::2, 2] = -1e4
        arm_deltas[1, ::2] = 1e30
    losses, _ = losses_of(model, GT, arm_logits, arm_deltas, odm_logits, odm_deltas)
    assert losses["loss_odm_cls"].isfinite() and losses["loss_odm_loc"].isfinite()
