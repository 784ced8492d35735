import base64
import json
import re

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from scb_d2.cli import main
from scb_d2.loss.object_weights import PAPER_FORMS
from scb_d2.matches import figures as matches_figures
from scb_d2.matches.collect import collect_matches
from scb_d2.matches.network_input import FixedInput
from scb_d2.matches.run import make_report, write_match_report
from scb_d2.matches.suggest import covered_share, suggest_anchors
from scb_d2.matches.verdict import give_verdict
from scb_d2.matches.weight_shares import weight_shares
from scb_d2.utils.size_groups import SIZE_NAMES
from tests.matches.scene import geometry, random_records, record
from tests.oracle import weigh_object

NATIVE = FixedInput(None, None, "native")
ABOUT = {
    "config_file": "<config>",
    "datasets": ["<b>data</b>"],
    "architecture": "Detector",
    "input": "native",
}
CLASSES = ["<script>alert(1)</script>", "a $x$ & b"]


def report_of(records, shape=None, size_rule="input", **kwargs):
    shape = shape or geometry()
    tally = collect_matches(records, shape, NATIVE, CLASSES, size_rule=size_rule, **kwargs)
    return make_report(tally, shape, ABOUT, size_rule=size_rule)


@pytest.fixture(scope="module")
def report():
    return report_of(random_records(40))


@pytest.mark.parametrize(
    ("small", "size_rule", "is_told"),
    [(9, "input", True), (8, "input", False), (9, "native", False)],
)
def test_sizes_that_are_nearly_all_one_are_told_of(small, size_rule, is_told):
    boxes = [[5, 5, 20, 20]] * small + [[5, 5, 55, 55]] * (10 - small)
    warnings = report_of([record(boxes)], size_rule=size_rule).warnings
    told = [
        "90.0% of the objects are small in pixels of the network's input. AP by size is of native "
        "pixels, by which the verdict may be another: --sizes native."
    ]
    assert [w for w in warnings if "native" in w] == told * is_told


@pytest.mark.parametrize("form", PAPER_FORMS)
def test_weight_shares_by_hand(form):
    # 3 small with M 1, 1 small with M 0, 2 large with M 10
    shares = weight_shares({(0, 1): 3, (0, 0): 1, (2, 10): 2}, alpha=1.5, beta=2.0)
    small = 3 * weigh_object(1, form, 1.5, 2.0)
    large = 2 * 10 * weigh_object(10, form, 1.5, 2.0)
    assert shares["objects"] == {"small": 4, "medium": 0, "large": 2}
    assert shares["stock"]["share"] == {"small": 3 / 23, "medium": 0, "large": 20 / 23}
    assert shares[form]["sum"]["small"] == pytest.approx(small)
    assert shares[form]["share"]["large"] == pytest.approx(large / (small + large))
    assert shares[form]["mean"]["small"] == pytest.approx(small / 4)


@pytest.mark.parametrize(
    ("large_matches", "level"),
    [(2, "some"), (4, "clear"), (1, "none"), (20, "clear")],
)
def test_verdict_levels(large_matches, level):
    counts = {(0, 1): 50, (0, 2): 50, (2, large_matches): 100}
    found = give_verdict(weight_shares(counts), "information", 1.0)
    assert found.ratio == pytest.approx(large_matches / 1.5)
    assert found.level == ("reversed" if large_matches == 1 else level)
    assert found.larger == "large"
    assert found.weighted_ratio < found.ratio or large_matches == 1


def test_verdict_under_a_form_that_gives_small_objects_no_weight():
    sums = np.array([0.0, 0.0, 90.0])
    shares = weight_shares({(0, 2): 50, (2, 9): 50}, further_sums={"large_only": sums})
    found = give_verdict(shares, "large_only", 1.0)
    assert (found.level, found.weighted_ratio) == ("clear", None)
    assert "0.0% under the form 'large_only', which gives them no say at all." in found.text


def test_verdict_without_two_sizes_or_with_bad_anchors():
    assert give_verdict(weight_shares({(0, 2): 100, (2, 9): 5}), "inverse", 1.0).level == "one size"
    assert give_verdict(weight_shares({(0, 0): 3}), "inverse", 1.0).level == "one size"
    poor = give_verdict(weight_shares({(0, 2): 50, (2, 9): 50}), "inverse", 0.5)
    assert "50.0% of the objects reach" in poor.text
    rpn = give_verdict(weight_shares({(0, 9): 50, (2, 2): 50}), "inverse", 0.5, 0.7, "stock")
    assert rpn.level == "reversed"
    assert "'reassign', which takes one" in rpn.text
    assert "depend on the rule for low-quality matches" in rpn.text


def test_json_totals_equal_the_number_of_objects(report):
    data = json.loads(json.dumps(report.to_json()))
    objects = data["num_objects"]
    histogram = data["histogram"]
    assert sum(histogram["all"].values()) == objects
    for group in ("by_size", "by_class"):
        assert sum(sum(h.values()) for h in histogram[group].values()) == objects
    for level in histogram["by_level"].values():
        assert sum(level.values()) == objects
    assert sum(sum(r.values()) for r in data["ranges"].values()) == objects
    assert sum(map(sum, data["best_iou"]["by_size"].values())) == objects
    assert data["unmatched"]["count"] == histogram["all"].get("0", 0)
    total = sum(int(m) * n for m, n in histogram["all"].items())
    assert data["weight_shares"]["stock"]["total"] == total
    assert sum(sum(v.values()) for v in data["matches_by_level"].values()) == total


def bars(draw, data):
    axes = Figure().add_subplot()
    draw(axes, data)
    return axes.containers


def test_figures_show_the_numbers_of_the_json(report):
    data = report.to_json()
    drawn = bars(matches_figures._matches_per_object, data)
    for size, container in zip(SIZE_NAMES, drawn, strict=True):
        heights = {i: bar.get_height() for i, bar in enumerate(container) if bar.get_height()}
        expected = {int(m): n for m, n in data["histogram"]["by_size"][size].items()}
        assert heights == expected
    shares = bars(matches_figures._weight_shares, data)
    for size, container in zip(SIZE_NAMES, shares, strict=True):
        stock = 100 * data["weight_shares"]["stock"]["share"][size]
        assert container[1].get_width() == pytest.approx(stock)
    for size, container in zip(SIZE_NAMES, bars(matches_figures._levels, data), strict=True):
        expected = [level[size] for level in data["matches_by_level"].values()]
        assert [bar.get_height() for bar in container] == expected
    ious = bars(matches_figures._best_iou, data)
    for size, container in zip(SIZE_NAMES, ious, strict=True):
        assert [b.get_height() for b in container] == data["best_iou"]["by_size"][size]
    names = [n for n in SIZE_NAMES if sum(data["ranges"][n].values())]
    by_size = bars(matches_figures._matches_by_size, data)
    for index, container in enumerate(by_size):
        label = list(data["ranges"]["small"])[index]
        for name, bar in zip(names, container, strict=True):
            total = sum(data["ranges"][name].values())
            expected = 100 * data["ranges"][name][label] / total
            assert bar.get_width() == pytest.approx(expected)


def test_page_is_self_contained_and_escaped(report, tmp_path):
    paths = write_match_report(report, tmp_path / "out")
    page = (tmp_path / "out" / "matches.html").read_text()
    assert paths[0].name == "matches.html"
    assert "<script" not in page
    assert "<b>data" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    images = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert len(images) == 6
    assert all(base64.b64decode(i).startswith(b"\x89PNG") for i in images)
    assert "not drawn" in page  # the images are absent
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths)


def test_nothing_is_left_half_written(report, tmp_path, monkeypatch):
    write_match_report(report, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    monkeypatch.setattr("scb_d2.matches.run.render_page", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_match_report(report, tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_suggestion_covers_what_it_says():
    # 6 px squares: far below the anchors of 16 and 32 px
    items = [record([(x, y, x + 6, y + 6)], image_id=x) for x in range(1, 60, 7) for y in (1, 33)]
    report = report_of(items, geometry("off"))
    data = report.to_json()["suggestions"]
    assert data["uncovered"] == data["sampled"] == len(items)
    first = report.suggestions[0]
    assert (first.kind, first.level) == ("size", 0)
    assert 5 <= first.value <= 10
    # recomputed from real anchors of all suggestions
    tally = report.tally
    found = covered_share(tally.uncovered_sample, geometry("off"), report.suggestions, 0.5)
    assert found == sum(s.covers for s in report.suggestions) / len(items)
    assert data["best_possible_recall_then"] == found


def test_elongated_objects_ask_for_a_ratio():
    sample = [(torch.tensor([4.0, y, 68.0, y + 4.0]).numpy(), (64, 96)) for y in range(2, 58, 4)]
    chosen = suggest_anchors(sample, geometry(), 0.5)
    assert chosen == [] or all(s.kind in ("ratio", "size") for s in chosen)
    assert suggest_anchors([], geometry(), 0.5) == []


def coco_file(path, boxes, size=(120, 100)):
    annotations = [
        {"id": 7 + i, "image_id": 1, "category_id": 3, "bbox": b, "area": b[2] * b[3], "iscrowd": 0}
        for i, b in enumerate(boxes)
    ]
    content = {
        "images": [{"id": 1, "file_name": "absent.jpg", "width": size[0], "height": size[1]}],
        "annotations": annotations,
        "categories": [{"id": 3, "name": "thing"}],
    }
    path.write_text(json.dumps(content))
    return [
        "DATASETS.REGISTER",
        str([{"NAME": "mine", "FORMAT": "coco", "JSON": str(path), "IMAGES": "absent"}]),
    ]


def command(config, *flags, opts=()):
    small = ["MODEL.RESNETS.DEPTH", "18", "MODEL.RESNETS.RES2_OUT_CHANNELS", "64"]
    return ["matches", "--config-file", config, *flags, *small, *opts]


RETINANET = "COCO-Detection/retinanet_R_50_FPN_1x.yaml"


def test_command_line(tmp_path, capsys):
    register = coco_file(tmp_path / "a.json", [[5, 5, 30, 40], [50, 50, 3, 3], [1, 1, 90, 95]])
    flags = ["--dataset", "mine", "--output", "out", "--per-object", "objects.json"]
    flags += ["--size", "200"]
    assert main(command(RETINANET, *flags, opts=register)) == 0
    printed = capsys.readouterr()
    assert "3 objects of 1 images" in printed.out
    assert "matching: 100%" in printed.err
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    objects = json.loads((tmp_path / "objects.json").read_text())
    assert sorted(objects) == ["7", "8", "9"]
    counts = sorted(objects.values())
    expected = [int(m) for m, n in data["histogram"]["all"].items() for _ in range(n)]
    assert counts == expected
    assert data["about"]["input"].startswith("shorter edge 200 px")
    assert data["weight_shares"]["objects"] == {"small": 1, "medium": 1, "large": 1}


def test_command_line_augmented_native_and_limited(tmp_path, capsys):
    register = coco_file(tmp_path / "a.json", [[5, 5, 30, 40]])
    flags = ["--dataset", "mine", "--output", "out", "--augment", "--sizes", "native"]
    flags += ["--max-images", "1", "--samples", "0"]
    assert main(command(RETINANET, *flags, opts=register)) == 0
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    assert data["about"]["augmented"] is True
    assert data["about"]["sizes"]["rule"] == "area of the box in native pixels"
    assert data["weight_shares"]["objects"]["medium"] == 1


def test_lazy_config(tmp_path, capsys):
    register = coco_file(tmp_path / "a.json", [[5, 5, 30, 40]])
    from scb_d2.data.registration import register_coco

    register_coco("mine_lazy", tmp_path / "a.json", "absent")
    assert register
    path = "common/models/retinanet.py"
    config = tmp_path / "lazy.py"
    config.write_text(
        "from detectron2 import model_zoo\n"
        f"model = model_zoo.get_config({path!r}).model\n"
        "dataloader = model_zoo.get_config('common/data/coco.py').dataloader\n"
        "dataloader.train.dataset.names = 'mine_lazy'\n"
        "optimizer = model_zoo.get_config('common/optim.py').SGD\n"
        "lr_multiplier = model_zoo.get_config('common/coco_schedule.py').lr_multiplier_1x\n"
    )
    assert main(["matches", "--config-file", str(config), "--output", "out"]) == 0
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    assert data["num_objects"] == 1
    assert data["about"]["datasets"] == ["mine_lazy"]
    assert data["about"]["input"].startswith("shorter edge 736 px")


def test_atss(tmp_path, capsys):
    """It gives objects of all sizes matches, and the report says by what rule."""
    boxes = [[5, 5, 30, 40], [50, 50, 12, 12], [1, 1, 90, 95]]
    register = coco_file(tmp_path / "a.json", boxes)
    opts = [*register, "MODEL.ANCHOR_MATCHER.NAME", "atss"]
    flags = ["--dataset", "mine", "--output", "out", "--per-object", "m.json", "--size", "200"]
    assert main(command(RETINANET, *flags, opts=opts)) == 0
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    matcher = data["about"]["matcher"]
    assert matcher["class"] == "ATSSMatcher"
    assert matcher["settings"] == {"num_candidates": 9, "anchors_per_cell": 9}
    assert all(m > 0 for m in json.loads((tmp_path / "m.json").read_text()).values())
    recall = data["best_possible_recall"]
    assert (recall["iou"], recall["rule"], recall["all"]) == (None, "any match", 1.0)
    assert data["suggestions"]["anchors"] == []
    assert "best possible recall 100.0% at any match" in capsys.readouterr().out
    assert "ATSSMatcher" in (tmp_path / "out" / "matches.html").read_text()


def test_fcos_counts_points_and_the_objects_without_one(repo_root, tmp_path, capsys):
    from scb_d2.data.registration import register_coco

    # points of the finest level at 4, 12, 20, ... px: the first box holds 3 x 3, the second none
    coco_file(tmp_path / "a.json", [[1, 1, 22, 22], [13, 13, 6, 6], [2, 90, 60, 200]], (800, 800))
    register_coco("points", tmp_path / "a.json", "absent")
    flags = ["--dataset", "points", "--output", "out", "--per-object", "m.json", "--size", "800"]
    config = str(repo_root / "configs" / "lazy" / "fcos_scb.py")
    assert main(["matches", "--config-file", config, *flags]) == 0
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    counts = json.loads((tmp_path / "m.json").read_text())
    assert counts["7"] == 9 and counts["8"] == 0 and counts["9"] > 0
    assert data["unmatched"]["count"] == 1
    assert data["about"]["matcher"]["settings"] == {"center_sampling_radius": 1.5}
    assert data["about"]["scb_enabled"] is True
    assert data["best_possible_recall"]["all"] == pytest.approx(2 / 3)
    assert "1 of 3 objects match no anchor" in capsys.readouterr().out
    assert "have no match" in (tmp_path / "out" / "matches.html").read_text()


@pytest.mark.parametrize(
    ("flags", "opts", "sentence"),
    [
        (["--dataset", "nothere"], [], "data set 'nothere', which is not registered"),
        (["--dataset", "mine", "--size", "tiny"], [], "the input size must be"),
        (["--dataset", "mine", "--max-images", "0"], [], "at least 1"),
        (["--dataset", "mine"], ["MODEL.SCB.FORM", "cubic"], "FORM must be one of"),
        (["--dataset", "mine", "--per-object", "no/such/f.json"], [], "cannot write no/such"),
        (["--dataset", "mine", "--dataset", "shapes_val", "--per-object", "f"], [], "one data set"),
        (["--dataset", "mine", "--augment", "--size", "100"], [], "does not go with"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, capsys, flags, opts, sentence):
    register = coco_file(tmp_path / "a.json", [[5, 5, 30, 40]])
    kept = tmp_path / "out"
    kept.mkdir()
    (kept / "matches.json").write_text("mine")
    assert main(command(RETINANET, *flags, "--output", "out", opts=[*register, *opts])) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert sentence in error[-1]
    assert not any("Traceback" in line for line in error)
    assert (kept / "matches.json").read_text() == "mine"


def test_no_objects_is_one_sentence(tmp_path, capsys):
    register = coco_file(tmp_path / "a.json", [[5, 5, 0, 40]])
    assert main(command(RETINANET, "--dataset", "mine", "--output", "out", opts=register)) == 1
    assert "has no object to train on: its boxes have no width or height" in capsys.readouterr().err


def test_figures_1_and_3_of_the_paper(repo_root, shared_data, tmp_path):
    content = json.loads((shared_data / "voc_boxes" / "voc0712_trainval.json").read_text())
    content["images"] = content["images"][:800]
    kept = {image["id"] for image in content["images"]}
    content["annotations"] = [a for a in content["annotations"] if a["image_id"] in kept]
    (tmp_path / "voc.json").write_text(json.dumps(content))
    entry = {"NAME": "voc", "FORMAT": "coco", "JSON": "voc.json", "IMAGES": "absent"}
    config = str(repo_root / "projects/SSD/configs/ssd300_voc.yaml")
    flags = ["--config-file", config, "--dataset", "voc", "--output", "out"]
    assert main(["matches", *flags, "DATASETS.REGISTER", str([entry])]) == 0
    data = json.loads((tmp_path / "out" / "matches.json").read_text())
    assert data["num_objects"] == len(content["annotations"])

    def share(size, low, high):
        histogram = data["histogram"]["by_size"][size]
        hit = sum(n for m, n in histogram.items() if low <= int(m) <= high)
        return hit / sum(histogram.values())

    assert share("small", 0, 5) > 0.7  # "most of the small objects"
    assert 0.06 < share("large", 0, 5) < 0.16  # "about 1/8"
    more_than_10 = sum(n for m, n in data["histogram"]["all"].items() if int(m) > 10)
    assert 0.3 < more_than_10 / data["num_objects"] < 0.45  # "about one third"
    assert data["verdict"]["level"] == "clear"
