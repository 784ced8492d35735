import math

import pytest
import torch

from scb_d2.errors import ConfigError
from scb_d2.projects.ssd import SSDAnchorGenerator

from .builders import anchors_of, build_ssd, ssd_config


def _generator(config: str) -> tuple[SSDAnchorGenerator, list[torch.Tensor]]:
    """The generator of a config and maps of the sizes that its network makes."""
    cfg = ssd_config(config)
    sizes = [38, 19, 10, 5, 3, 1] if "300" in config else [64, 32, 16, 8, 4, 2, 1]
    features = [torch.zeros(1, 1, n, n) for n in sizes]
    return SSDAnchorGenerator(cfg, features), features


FIRST_SQUARES = {
    "ssd300_voc.yaml": [
        (-11, 19, -17.2132, 25.2132),
        (-22, 38, -32.8044, 48.8044),
        (-39.5, 71.5, -51.0485, 83.0485),
        (-49, 113, -60.879, 124.879),
        (-56.5, 156.5, -68.5664, 168.5664),
        (18, 282, 5.8126, 294.1874),
    ],
    "ssd300_coco.yaml": [
        (-6.5, 14.5, -11.3704, 19.3704),
        (-14.5, 30.5, -25.3729, 41.3729),
        (-33.5, 65.5, -45.5366, 77.5366),
        (-44.5, 108.5, -56.9817, 120.9817),
        (-53.5, 153.5, -66.2185, 166.2185),
        (19.5, 280.5, 6.6342, 293.3658),
    ],
    "ssd512_voc.yaml": [
        (-13.5, 21.5, -21.7876, 29.7876),
        (-30, 46, None, None),
        (-60.5, 92.5, None, None),
        (-83, 147, None, None),
        (-89.5, 217.5, None, None),
        (-64, 320, None, None),
        (26, 486, 7.4945, 504.5055),
    ],
    "ssd512_coco.yaml": [
        (-6, 14, -11.9687, 19.9687),
        (-17.5, 33.5, None, None),
        (-50.5, 82.5, None, None),
        (-75.5, 139.5, None, None),
        (-84, 212, None, None),
        (-61, 317, None, None),
        (26, 486, 6.3402, 505.6598),
    ],
}


@pytest.mark.parametrize("config", FIRST_SQUARES)
def test_squares_of_the_first_cell(config: str) -> None:
    generator, features = _generator(config)
    for boxes, (s_lo, s_hi, b_lo, b_hi) in zip(
        generator(features), FIRST_SQUARES[config], strict=True
    ):
        assert boxes.tensor[0].tolist() == pytest.approx([s_lo, s_lo, s_hi, s_hi], abs=1e-3)
        if b_lo is not None:
            assert boxes.tensor[1].tolist() == pytest.approx([b_lo, b_lo, b_hi, b_hi], abs=1e-3)


@pytest.mark.parametrize(
    ("config", "level", "index", "box"),
    [
        ("ssd300_voc.yaml", 0, 2, (-17.2132, -6.6066, 25.2132, 14.6066)),
        ("ssd300_voc.yaml", 0, 3, (-6.6066, -17.2132, 14.6066, 25.2132)),
        ("ssd300_voc.yaml", 1, 2, (-34.4264, -13.2132, 50.4264, 29.2132)),
        ("ssd300_voc.yaml", 1, 4, (-43.9615, -9.3205, 59.9615, 25.3205)),
        ("ssd300_voc.yaml", 5, 2, (-36.6762, 56.6619, 336.6762, 243.3381)),
        ("ssd300_voc.yaml", 5, -1, (56.6619, -36.6762, 243.3381, 336.6762)),
        ("ssd300_coco.yaml", 0, 2, (-10.8492, -3.4246, 18.8492, 11.4246)),
        ("ssd512_voc.yaml", 0, 2, (-20.7487, -8.3744, 28.7487, 16.3744)),
        ("ssd512_coco.yaml", 0, 2, (-10.1421, -3.0711, 18.1421, 11.0711)),
    ],
)
def test_other_anchors_of_a_cell(
    config: str, level: int, index: int, box: tuple[float, ...]
) -> None:
    generator, features = _generator(config)
    assert generator(features)[level].tensor[index].tolist() == pytest.approx(box, abs=1e-3)


@pytest.mark.parametrize(
    ("config", "per_level", "total"),
    [
        ("ssd300_voc.yaml", [5776, 2166, 600, 150, 36, 4], 5332736),
        ("ssd300_coco.yaml", [5776, 2166, 600, 150, 36, 4], 5332736),
        ("ssd512_coco.yaml", [16384, 6144, 1536, 384, 96, 16, 4], 25153536),
    ],
)
def test_totals_and_centres(config: str, per_level: list[int], total: float) -> None:
    generator, features = _generator(config)
    boxes = [x.tensor for x in generator(features)]
    assert [len(x) for x in boxes] == per_level
    assert torch.cat(boxes).double().sum().item() == pytest.approx(total, abs=1)
    expected = [4, 6, 6, 6, 4, 4] if len(boxes) == 6 else [4, 6, 6, 6, 6, 4, 4]
    assert generator.num_cell_anchors == generator.num_anchors == expected


def test_order_is_row_column_anchor() -> None:
    generator = SSDAnchorGenerator(
        min_sizes=[10], max_sizes=[], aspect_ratios=[[2]], steps=[8], starts=[3]
    )
    (boxes,) = generator([torch.zeros(1, 1, 2, 3)])
    centres = (boxes.tensor[:, :2] + boxes.tensor[:, 2:]) / 2
    expected = [(3 + 8 * x, 3 + 8 * y) for y in range(2) for x in range(3) for _ in range(3)]
    assert torch.allclose(centres, torch.tensor(expected, dtype=torch.float32), atol=1e-5)
    sides = (boxes.tensor[:, 2:] - boxes.tensor[:, :2])[:3]
    wide = (10 * math.sqrt(2), 10 / math.sqrt(2))
    assert torch.allclose(sides, torch.tensor([(10.0, 10.0), wide, wide[::-1]]), atol=1e-5)


def test_lists_of_different_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"2 min_sizes and 1 steps"):
        SSDAnchorGenerator(min_sizes=[1, 2], aspect_ratios=[[2], [2]], steps=[8])


def test_feature_maps_have_the_sizes_of_the_anchors() -> None:
    narrow = ("MODEL.SSD.VGG_WIDTH", 0.02)
    assert [len(x) for x in anchors_of(build_ssd("ssd300_voc.yaml", *narrow))] == [
        5776, 2166, 600, 150, 36, 4,
    ]  # fmt: skip
    assert sum(len(x) for x in anchors_of(build_ssd("ssd512_voc.yaml", *narrow))) == 24564
