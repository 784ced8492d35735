import pytest
import torch

from scb_d2.projects.ssd import SSDAnchorGenerator

from .builders import dssd_config
from .test_network import SIZES

SMALL_SQUARES = {
    321: [(-13.5, 18.5), (-29.5, 34.5), (-50, 71), (-63, 116), (-28, 209), (13, 308)],
    513: [(-7.5, 12.5), (-23, 28), (-58.5, 79.5), (-86, 139), (-97.5, 214.5), (-77.5, 322.5),
          (13, 500)],
}  # fmt: skip


def _anchors(config: str, *opts) -> list[torch.Tensor]:
    cfg = dssd_config(config, *opts)
    maps = [torch.zeros(1, 1, n, n) for n in SIZES[cfg.MODEL.SSD.IMAGE_SIZE]]
    return [x.tensor for x in SSDAnchorGenerator(cfg, maps)(maps)]


@pytest.mark.parametrize("config", ["dssd321_voc", "ssd321_coco", "dssd513_coco", "ssd513_voc"])
def test_first_anchors_and_totals(config: str) -> None:
    levels = _anchors(f"{config}.yaml")
    size = 321 if "321" in config else 513
    assert sum(map(len, levels)) == {321: 17080, 513: 43688}[size]
    for anchors, (low, high) in zip(levels, SMALL_SQUARES[size], strict=True):
        assert anchors[0].tolist() == pytest.approx([low, low, high, high], abs=1e-3)


def test_order_within_a_cell() -> None:
    levels = _anchors("dssd321_voc.yaml")
    first = levels[0][:8]
    assert (first[:, 2:] - first[:, :2]).flatten().tolist() == pytest.approx(
        [32, 32, 45.2548, 45.2548, 40.4772, 25.2982, 25.2982, 40.4772, 45.2548, 22.6274, 22.6274,
         45.2548, 55.4256, 18.4752, 18.4752, 55.4256],
        abs=1e-3,
    )  # fmt: skip
    assert first[1].tolist() == pytest.approx([-20.1274, -20.1274, 25.1274, 25.1274], abs=1e-3)
    assert first[2].tolist() == pytest.approx([-17.7386, -10.1491, 22.7386, 15.1491], abs=1e-3)
    assert levels[5][1].tolist() == pytest.approx([-0.8498] * 2 + [321.8498] * 2, abs=1e-3)
    assert torch.cat(levels).double().sum().item() == pytest.approx(10760432, abs=1)
    assert _anchors("dssd513_coco.yaml")[0][1].tolist() == pytest.approx(
        [-13.4687] * 2 + [18.4687] * 2, abs=1e-3
    )


def test_centres_of_cells_are_the_other_choice() -> None:
    steps = (8, 16, 32, 64, 107, 321)
    levels = _anchors("dssd321_voc.yaml", "MODEL.SSD.STARTS", (), "MODEL.SSD.STEPS", steps)
    assert levels[0][0].tolist() == [-12, -12, 20, 20]
    assert levels[0][1].tolist() == pytest.approx([-18.6274] * 2 + [26.6274] * 2, abs=1e-3)
    assert levels[4][0].tolist() == [-65, -65, 172, 172]
