"""Gradients of two processes over gloo, with what is sampled held fixed."""

import contextlib
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch.profiler import ProfilerActivity, profile

from scb_d2 import build_model
from scb_d2.engine.processes import create_ddp
from scb_d2.modeling.compiled_operators import has_compiled_operators
from tests.projects.builders import training_input
from tests.projects.ssd.builders import toy_ssd

from .detectors import fcos, image, retinanet_config, train_step
from .rcnn import CASCADE, STANDARD, rcnn_config
from .rotated import rotated_config, rotated_image

WORLD_SIZE = 2
NO_SSD_NORM = ("MODEL.SSD.VGG_NORM", "")
BOTH = ("MODEL.SCB.STAGES", ("first", "second"))
NORM = ("MODEL.RESNETS.NORM", "GN")  # images of a batch do not mix
# On CPUs Detectron2's rotated NMS is an event of the profiler for each pair of boxes.
FEW_PROPOSALS = ("MODEL.RPN.PRE_NMS_TOPK_TRAIN", 50)
ATSS = ("MODEL.ANCHOR_MATCHER.NAME", "atss")
WITHOUT_OBJECTS = ", a rank without objects"
BUILDERS = {
    "retinanet": lambda on: build_model(retinanet_config(*NORM, enabled=on)),
    "faster": lambda on: build_model(rcnn_config(STANDARD, *BOTH, *NORM, enabled=on)),
    "cascade": lambda on: build_model(rcnn_config(CASCADE, *BOTH, *NORM, enabled=on)),
    "atss": lambda on: build_model(retinanet_config(*NORM, *ATSS, enabled=on)),
    "atss" + WITHOUT_OBJECTS: lambda on: build_model(retinanet_config(*NORM, *ATSS, enabled=on)),
    "fcos": lambda on: fcos(on, NORM[1]),
    "fcos" + WITHOUT_OBJECTS: lambda on: fcos(on, NORM[1]),
}
if has_compiled_operators():
    for name in ("rotated", "rotated" + WITHOUT_OBJECTS):
        BUILDERS[name] = lambda on: build_model(
            rotated_config(*BOTH, *NORM, *FEW_PROPOSALS, enabled=on)
        )
BOXES = [
    [[[10, 10, 22, 21], [20, 25, 90, 80]], []],
    [[[50, 5, 80, 30], [50, 5, 80, 30], [5, 60, 30, 95]], [[30, 30, 44, 41]]],
]


def first_labels(labels, num_samples, positive_fraction, bg_label):
    """Detectron2's ``subsample_labels``, taking the first instead of random ones."""
    positive = ((labels != -1) & (labels != bg_label)).nonzero()[:, 0]
    positive = positive[: int(num_samples * positive_fraction)]
    return positive, (labels == bg_label).nonzero()[: num_samples - len(positive), 0]


@contextlib.contextmanager
def sampling_fixed():
    modeling = "detectron2.modeling"
    with (
        mock.patch(f"{modeling}.proposal_generator.rpn.subsample_labels", first_labels),
        mock.patch(f"{modeling}.roi_heads.roi_heads.subsample_labels", first_labels),
    ):
        yield


def data_of(rank, name=""):
    torch.manual_seed(10 + rank)
    empty = rank and name.endswith(WITHOUT_OBJECTS)
    images = [[] if empty else boxes for boxes in BOXES[rank]]
    if not name.startswith("rotated"):
        return [image(boxes) for boxes in images]
    return [rotated_image([_turned(*box) for box in boxes]) for boxes in images]


def _turned(x1, y1, x2, y2):
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, x1]


def build(name, enabled=True):
    torch.manual_seed(0)
    return BUILDERS[name](enabled)


def gradients_of(model, data):
    with sampling_fixed():
        _, gradients, scalars = train_step(model, data)
    return {name.removeprefix("module."): g.clone() for name, g in gradients.items()}, scalars


def work(rank, folder):
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=WORLD_SIZE
    )
    torch.set_num_threads(1)
    for name in BUILDERS:
        steps = {}
        for enabled in (True, False):
            model = create_ddp(build(name, enabled), broadcast_buffers=False)
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                gradients, _ = gradients_of(model, data_of(rank, name))
            names = sorted(e.name for e in profiler.events())
            steps[enabled] = gradients, [x for x in names if x.startswith(("c10d::", "gloo:"))]
        torch.save(steps, f"{folder}/{name}{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def distributed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("distributed")
    torch.multiprocessing.spawn(work, (str(folder),), nprocs=WORLD_SIZE)
    return {
        name: [torch.load(folder / f"{name}{rank}.pt") for rank in range(WORLD_SIZE)]
        for name in BUILDERS
    }


def assert_close(actual, expected):
    """The whole gradients differ by less than 1e-6 of their length, and each tensor by little."""
    assert actual.keys() == expected.keys()
    difference = sum((actual[key] - value).square().sum() for key, value in expected.items())
    length = sum(value.square().sum() for value in expected.values())
    assert (difference / length).sqrt() < 1e-6
    for name, value in expected.items():
        scale = 1e-5 * value.abs().max().item()
        torch.testing.assert_close(actual[name], value, rtol=1e-5, atol=scale, msg=name)


@pytest.mark.parametrize("name", BUILDERS)
def test_gradient_is_the_mean_of_the_ranks(name, distributed):
    ranks = [gradients_of(build(name), data_of(rank, name))[0] for rank in range(WORLD_SIZE)]
    mean = {key: sum(g[key] for g in ranks) / WORLD_SIZE for key in ranks[0]}
    for steps in distributed[name]:
        assert_close(steps[True][0], mean)


@pytest.mark.parametrize("name", ["faster", "cascade"])
def test_gradient_is_the_joint_batchs_where_divisors_count_images(name, distributed):
    """RPN divides by 64 anchors an image, the ROI heads by the 24 regions sampled of each."""
    joint, scalars = gradients_of(build(name), data_of(0) + data_of(1))
    per_image = scalars["roi_head/num_fg_samples"] + scalars["roi_head/num_bg_samples"]
    assert per_image == 24
    assert_close(distributed[name][0][True][0], joint)


def test_retinanets_divisor_stays_with_its_rank(distributed):
    """An EMA of the rank's own positives, as in stock: 0.9 x 100 + 0.1 x positives at first."""
    models = [build("retinanet") for _ in range(WORLD_SIZE + 1)]
    batches = [data_of(0), data_of(1), data_of(0) + data_of(1)]
    gradients, normalizers = [], []
    for model, data in zip(models, batches, strict=True):
        gradients.append(gradients_of(model, data)[0])
        normalizers.append(model.loss_normalizer)
    first, second, joint = normalizers
    assert joint == pytest.approx(first + second - 90)
    # Each rank's gradient, times its own divisor over the joint one, sums to the joint batch's.
    first_gradient, second_gradient, joint_gradient = gradients
    expected = {
        key: (value * first + second_gradient[key] * second) / joint
        for key, value in first_gradient.items()
    }
    assert_close(joint_gradient, expected)
    mean = {key: (value + second_gradient[key]) / 2 for key, value in first_gradient.items()}
    assert_close(distributed["retinanet"][0][True][0], mean)


def test_ssds_divisor_stays_with_its_rank():
    """Its positives, as in the reference: the joint batch weighs ranks by their positives."""
    model = toy_ssd(*NO_SSD_NORM)
    torch.manual_seed(3)
    boxes = [[[10, 10, 60, 60], [20, 30, 150, 140]], [[80, 90, 120, 100]]]
    batches = [[training_input(x), training_input(x)] for x in boxes]
    gradients, positives = [], []
    for data in (*batches, batches[0] + batches[1]):
        gradient, scalars = gradients_of(model, data)
        gradients.append(gradient)
        positives.append(scalars["num_pos_anchors"] * len(data))
    first, second, joint = positives
    assert joint == first + second and first != second
    expected = {
        key: (value * first + gradients[1][key] * second) / joint
        for key, value in gradients[0].items()
    }
    assert_close(gradients[2], expected)


def test_retinanet_with_its_divisor_held_fixed_is_off_by_the_number_of_processes():
    ranks = []
    for data in (data_of(0), data_of(1), data_of(0) + data_of(1)):
        model = build("retinanet")
        model._ema_update = lambda *_: 100.0
        ranks.append(gradients_of(model, data)[0])
    first, second, joint = ranks
    mean = {key: (first[key] + second[key]) / WORLD_SIZE for key in first}
    assert_close({key: value * WORLD_SIZE for key, value in mean.items()}, joint)


@pytest.mark.parametrize("name", BUILDERS)
def test_no_collective_is_added_to_stocks(name, distributed):
    for steps in distributed[name]:
        (_, ours), (_, stock) = steps[True], steps[False]
        assert ours == stock and ours
