import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from PIL import Image

from scb_d2.data.mapper import build_mapper
from scb_d2.engine.config.load import load_config
from scb_d2.errors import ConfigError, DataError
from scb_d2.matches.network_input import AugmentedInput, fixed_input, seeded
from tests.matches.scene import record

BOXES = [[3, 4, 30, 44], [50, 10, 91, 60], [0.5, 0, 140, 5], [20, 20, 20, 40], [7.5, 8, 99.25, 61]]


@pytest.fixture
def image_record(tmp_path):
    path = tmp_path / "image.png"
    Image.fromarray(np.zeros((77, 123, 3), dtype=np.uint8)).save(path)
    return record(BOXES, size=(77, 123), crowd=(1,), file_name=str(path))


def mapped(mapper, item, seed=5):
    with seeded(seed):
        output = mapper(item)
    return output["instances"].gt_boxes.tensor, tuple(output["image"].shape[-2:])


@pytest.mark.parametrize(
    ("config", "opts"),
    [
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", []),
        ("COCO-Detection/retinanet_R_50_FPN_1x.yaml", ["INPUT.CROP.ENABLED", "True"]),
        ("projects/SSD/configs/ssd300_voc.yaml", []),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_augmented_boxes_are_those_of_the_training_mapper(
    repo_root, image_record, config, opts, seed
):
    path = str(repo_root / config) if config.startswith("projects") else config
    mapper = build_mapper(load_config(path, opts), True)
    expected, size = mapped(mapper, image_record, seed)
    rule = AugmentedInput(
        mapper.augmentations.augs, "words", getattr(mapper, "object_aware", False)
    )
    with seeded(seed):
        found = rule(image_record)
    assert found.size == size
    assert torch.allclose(torch.as_tensor(found.boxes, dtype=torch.float32), expected, atol=1e-4)


def test_fixed_input_is_the_mapper_with_one_size(image_record):
    cfg = load_config(
        "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
        ["INPUT.MIN_SIZE_TRAIN", "(200,)", "INPUT.RANDOM_FLIP", "none"],
    )
    mapper = build_mapper(cfg, True)
    expected, size = mapped(mapper, image_record)
    found = fixed_input(mapper.augmentations.augs)(image_record)
    assert found.size == size
    assert torch.allclose(torch.as_tensor(found.boxes, dtype=torch.float32), expected, atol=1e-4)
    assert found.kept.tolist() == [0, 2, 4]


CHOICE = [T.ResizeShortestEdge((640, 672, 704, 736, 768, 800), 1333, "choice"), T.RandomFlip()]


@pytest.mark.parametrize(
    ("augmentations", "size", "native", "expected"),
    [
        (CHOICE, "middle", (480, 640), (736, 981)),
        (CHOICE, "smallest", (480, 640), (640, 853)),
        (CHOICE, "largest", (480, 640), (800, 1067)),
        (CHOICE, 100, (480, 640), (100, 133)),
        (CHOICE, "middle", (100, 1000), (133, 1333)),
        ([T.ResizeShortestEdge((600, 800), 1333, "range")], "middle", (480, 640), (700, 933)),
        ([T.Resize((300, 320))], "middle", (480, 640), (300, 320)),
        (
            [T.ResizeScale(0.1, 2.0, 64, 64), T.FixedSizeCrop((64, 64))],
            "middle",
            (40, 80),
            (64, 64),
        ),
        ([], "middle", (40, 80), (40, 80)),
        ([T.AugmentationList([T.Resize((10, 20))])], "middle", (40, 80), (10, 20)),
    ],
)
def test_fixed_input_sizes(augmentations, size, native, expected):
    assert fixed_input(augmentations, size)(record([], size=native)).size == expected


@pytest.mark.parametrize(
    ("augmentations", "size"), [(CHOICE, "huge"), (CHOICE, 0), ([T.Resize((300, 300))], 512)]
)
def test_sizes_that_do_not_fit_are_refused(augmentations, size):
    with pytest.raises(ConfigError, match="input size"):
        fixed_input(augmentations, size)


def test_image_without_size_is_refused():
    item = record([(0, 0, 5, 5)])
    item["height"] = None
    with pytest.raises(DataError, match="image 1 has no width and height"):
        fixed_input([])(item)


def test_seeded_restores_the_generators():
    before = np.random.get_state()[1].copy()
    with seeded(1):
        first = np.random.rand()
    with seeded(1):
        assert np.random.rand() == first
    assert (np.random.get_state()[1] == before).all()
