"""The experiments' plans can be run, and docs/results.md says what their results hold."""

import json
import re

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.engine import SimpleTrainer

from experiments.clipping import ClippingCounter
from experiments.curves import curves_of
from experiments.cut_validation_part import cut
from experiments.figures import differences_figure
from experiments.one_class import main as one_class
from experiments.prepare_bccd import coco_of
from experiments.tables import compared, fill, load_results
from scb_d2 import add_scb_config
from scb_d2.compare.intervals import MetricComparison, detectable_difference, paired_t
from scb_d2.compare.judgement import judge
from scb_d2.config import validate_config
from scb_d2.experiment.plan import TrainingRun, load_plan
from scb_d2.projects import add_project_configs

from .conftest import REPO_ROOT

RESULTS = load_results()
EXPERIMENTS = compared(RESULTS)


def plans(root):
    # Those of advice/ are about other keys than the loss's: tests/advise.
    found = sorted((root / "experiments").glob("**/*.yaml"))
    return [path for path in found if path.parent.name != "advice"]


def plan_names():

    folder = REPO_ROOT / "experiments"
    return [
        p.relative_to(folder).as_posix() for p in plans(REPO_ROOT) if p.parent.name != "configs"
    ]


@pytest.mark.parametrize("name", plan_names())
def test_every_arm_of_a_plan_is_a_valid_config(name, repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)  # plans name configs from there
    experiment = load_plan(repo_root / "experiments" / name)
    assert (
        str(experiment.output) == f"output/experiments/{name.removesuffix('.yaml').split('/')[-1]}"
    )
    configs = []
    for runs in experiment.arms.values():
        cfg = get_cfg()
        add_scb_config(cfg)
        add_project_configs(cfg)
        cfg.merge_from_file(str(runs[0].config))
        cfg.merge_from_list(runs[0].settings)
        validate_config(cfg)
        configs.append(cfg)
    names = zip(experiment.arms, configs, strict=True)
    off = [arm for arm, cfg in names if not cfg.MODEL.SCB.ENABLED]
    assert off[0] == next(iter(experiment.arms))
    assert len(off) == 1 or all(arm.startswith(("stock_", "repeat_factor")) for arm in off[1:])
    what_arms_vary = {
        (json.dumps(cfg.MODEL.SCB), cfg.SOLVER.BASE_LR, cfg.DATALOADER.SAMPLER_TRAIN)
        for cfg in configs
    }
    assert len(what_arms_vary) == len(configs)
    assert len({cfg.DATASETS.dump() for cfg in configs}) == 1


@pytest.mark.parametrize("name", sorted(EXPERIMENTS))
def test_results_follow_from_their_runs(name):
    found = EXPERIMENTS[name]
    assert found["command"].startswith("scb-d2 experiment ")
    assert found["commit"] or found["judged_again"]
    seeds = [str(seed) for seed in sorted(found["seeds"])]
    tables = {}
    for pair in found["comparisons"]:
        sides = [found["arms"][pair[side]]["metrics"] for side in ("baseline", "candidate")]
        table = tables[pair["baseline"], pair["candidate"]] = {}
        for metric, row in pair["metrics"].items():
            # Nothing is judged at a fixed score, nor at false positives pooled over sizes.
            assert row["family"].startswith("AP") or row["operating_point"].startswith("baseline@")
            if row["difference"] is None:
                continue
            table[metric] = compared_again(row)
            if metric not in sides[0]:
                continue
            assert list(sides[0][metric]) == list(sides[1][metric]) == seeds
            runs = [[side[metric][seed] for seed in seeds] for side in sides]
            differences = [b - a for a, b in zip(*runs, strict=True)]
            mean = sum(differences) / len(differences)
            assert row["difference"] == pytest.approx(mean, abs=2e-4)
            interval, p_value = paired_t(differences, found["rules"]["confidence"])
            assert row["t_interval"] == pytest.approx(interval, abs=1e-3)
            assert row["p_value"] >= p_value - 1e-4
            detectable = detectable_difference(differences)
            assert row["detectable"] == pytest.approx(detectable, abs=1e-3)
    verdicts = judge(
        tables, primary=found["primary"], confirmatory=tuple(found["confirmatory"]), confidence=0.95
    )
    for pair in found["comparisons"]:
        for metric, verdict in verdicts[pair["baseline"], pair["candidate"]].items():
            row = pair["metrics"][metric]
            assert row["verdict"] == verdict.text
            assert row["adjusted_p"] == pytest.approx(verdict.adjusted_p, abs=5e-3)


def compared_again(row):
    intervals = [tuple(row[key]) for key in ("t_interval", "bootstrap_interval")]
    again = MetricComparison((0.0,), (row["difference"],), *intervals, row["p_value"])
    assert row["interval"] == list(again.interval)
    return again


def test_the_page_holds_the_tables_of_the_results(repo_root):
    page = (repo_root / "docs" / "results.md").read_text("utf-8")
    assert page == fill(page, RESULTS), "run python -m experiments.tables"
    shown = {name for name in EXPERIMENTS if f"<!-- table {name} " in page}
    assert shown == set(EXPERIMENTS)


@pytest.mark.parametrize(
    ("file", "title"), [("docs/results.md", "## In short"), ("README.md", "## Does it help?")]
)
def test_numbers_in_prose_stand_in_the_tables(file, title, repo_root):
    page = (repo_root / "docs" / "results.md").read_text("utf-8")
    summary = (repo_root / file).read_text("utf-8").split(title)[1].split("\n## ")[0]
    tables = "".join(line for line in page.splitlines() if line.startswith("|"))
    summary = " ".join(summary.split())
    claims = re.findall(r"[+-][\d.]+ \[[+-][\d.]+, [+-][\d.]+\]", summary)
    assert claims and all(claim in tables for claim in claims)
    numbers = re.findall(r"[+-]\d+\.\d+", summary)
    assert all(number in tables for number in numbers)


def made_up():
    metrics = {
        "AP": {"1": 10.0, "2": 12.0},
        "APs": {"1": 5.0, "2": 5.5},
        "APl": {"1": None, "2": None},
        "recall_small_0.1": {"1": 50.0, "2": 60.0},
    }
    row = {
        "family": "AP",
        "size": "small",
        "operating_point": None,
        "difference": 1.25,
        "interval": [-0.5, 3.0],
        "detectable": 4.04,
        "p_value": 0.0421,
        "adjusted_p": 0.2,
        "verdict": "no difference shown",
    }
    where = {"family": "recall", "operating_point": "baseline@0.3"}
    table = {
        "APs": row,
        "APl": dict.fromkeys(row) | {"family": "AP", "size": "large"},
        "AP": row | {"size": "all", "difference": -2.0},
        "recall_small_fp=baseline@0.3": row | where | {"difference": 2.5},
        "recall_all_fp=baseline@0.3": row | where | {"size": "all"},
    }
    sure = row | {"adjusted_p": None, "p_value": 0.0004, "verdict": "candidate better"}
    return {
        "command": "scb-d2 experiment plan.yaml",
        "commit": "0123456789abcdef",
        "iterations": 1500,
        "images_per_batch": 8,
        "base_lr": 0.02,
        "seeds": [1, 2],
        "test_images": 250,
        "test_objects": 1234,
        "hardware": {"processor": "Some CPU", "torch_threads": 1},
        "primary": "APs",
        "confirmatory": ["stock", "scb"],
        "arms": {
            "stock": {"overrides": {}, "minutes": [2.0, None], "metrics": metrics},
            "scb": {
                "overrides": {"SOLVER.BASE_LR": "0.05"},
                "minutes": [3.0, 4.0],
                "metrics": metrics,
            },
        },
        "comparisons": [
            {"baseline": "stock", "candidate": "scb", "metrics": table | {"APs": sure}},
            {"baseline": "scb", "candidate": "stock", "metrics": table},
        ],
    }


def test_tables_of_made_up_results():
    report = {"ratio": 2.487, "weighted_ratio": 1.594, "level": "clear"}
    report |= {"small_share_stock": 44.47, "small_share_scb": 55.55}
    results = {"toy": made_up(), "matches": {"toy": report, "other": report}}
    counted = {"iterations": 60, "iterations_clipped": 12.4, "gradients_clipped": 0.257}
    results["clipping"] = {"toy": {"stock": counted, "free": None}}
    runs = {
        f"{arm}_{rate}": {
            "overrides": {"SOLVER.BASE_LR": rate},
            "metrics": {"AP": {"101": value}},
        }
        for arm, rate, value in (("a_b", "0.1", 20.0), ("a_b", "0.05", 30.0), ("c", "0.1", 5.0))
    }
    results["toy_rates"] = {"arms": runs}
    low = {"overrides": {"SOLVER.BASE_LR": "0.02"}, "metrics": {"AP": {"101": 4.0}}}
    results["toy_rates_low"] = {"arms": {"c_0.02": low}}
    high = {"overrides": {"SOLVER.BASE_LR": "0.2"}, "metrics": {"AP": {"101": 6.0}}}
    results["toy_rates_high"] = {"arms": {"c_0.2": high}}
    kinds = [
        "toy about",
        "toy_rates rates",
        "toy results",
        "matches imbalance",
        "clipping clipping",
        "absent results",
    ]
    page = "before\n" + "".join(f"<!-- table {k} -->\nold\n<!-- end -->\n" for k in kinds) + "after"
    written = fill(page, results)
    assert fill(written, results) == written
    assert written.startswith(
        "before\n<!-- table toy about -->\n`scb-d2 experiment plan.yaml`: 1,500"
    )
    assert "Some CPU, 1 thread, 9 minutes for 3 runs, commit 0123456789." in written
    titles = (
        "|  | rate | AP_S (primary) | AP | recall small at baseline@0.3 | could have been seen |"
    )
    assert titles in written
    assert "| stock | 0.02 | 5.2 ± 0.4 | 11.0 ± 1.4 |  |  |  |" in written
    assert "| scb | 0.05 | 5.2 ± 0.4 |" in written
    cells = "+1.25 [-0.50, +3.00] | -2.00 [-0.50, +3.00] | +2.50 [-0.50, +3.00] | 4.0"
    sure = "candidate better (p < 0.001)"
    assert f"| scb - stock (confirmatory) |  | {cells} | {sure} |" in written
    open_ = "no difference shown (p 0.042, Holm 0.200)"
    assert f"| stock - scb |  | {cells} | {open_} |" in written
    assert "AP_L" not in written and "recall all" not in written
    matches = "| toy | 2.49 | 1.59 | 44.5 -> 55.5 | clear | +1.25 [-0.50, +3.00] | not run |"
    assert matches in written
    assert "| other |" not in written  # no results, no gain
    assert "| AP at rate | 0.02 | 0.05 | 0.1 | 0.2 |" in written
    assert "| a_b |  | **30.0** | 20.0 |  |" in written
    assert "| c | 4.0 |  | 5.0 | **6.0** |" in written
    assert "| toy | stock | 60 | 12 | 0.26 |" in written and "free" not in written
    assert "<!-- table absent results -->\nNot run.\n<!-- end -->\nafter" in written


def test_figure_has_a_row_for_every_comparison():
    (panel,) = differences_figure({"toy": made_up(), "matches": {}}).axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == ["stock - scb", "scb - stock"]
    interval, middle = panel.lines[1:3]
    assert list(interval.get_xdata()) == [-0.5, 3.0]
    assert list(middle.get_xdata()) == [1.25]


def test_clipped_gradients_are_counted_before_they_are_clipped():
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.small, self.large = (torch.nn.Parameter(torch.zeros(4)) for _ in range(2))

        def forward(self, factor):
            # Norms of the gradients: 2 and 2 * factor.
            return {"loss": self.small.sum() + factor * self.large.sum()}

    model = Model()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    trainer = SimpleTrainer(model, [2.0, 3.0, 1.0, 9.0], optimizer)
    counter = ClippingCounter(limit=5.0)
    trainer.register_hooks([counter])
    trainer.train(0, 4)
    found = {"iterations": 4, "iterations_clipped": 50.0, "gradients_clipped": 25.0}
    assert counter.to_json() == found


def test_the_validation_part_shares_no_road_with_the_rest():
    names = [f"{n}_road{n // 4}_x.jpg" for n in range(20)]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    rows = [{"id": n, "image_id": n % 20} for n in range(50)]
    data = {"images": images, "annotations": rows, "categories": []}
    fit, validation = cut(data, 0.25, groups=r"road\d+")
    roads = [
        {row["file_name"].split("_")[1] for row in part["images"]} for part in (fit, validation)
    ]
    assert not roads[0] & roads[1] and len(roads[0] | roads[1]) == 5
    assert len(validation["images"]) == 8  # two roads: one is less than a quarter
    for part in (fit, validation):
        ids = {image["id"] for image in part["images"]}
        assert part["annotations"] == [row for row in rows if row["image_id"] in ids]
    assert cut(data, 0.25, groups=r"road\d+") == (fit, validation)


def test_one_class_holds_every_object_of_the_data_set(tmp_path):
    rows = [{"id": n, "image_id": 1, "bbox": [n, 0, 5, 5], "category_id": 7 + n} for n in range(3)]
    data = {"images": [{"id": 1}], "annotations": rows, "categories": [{"id": 7}, {"id": 8}]}
    (tmp_path / "test.json").write_text(json.dumps(data))
    one_class([str(tmp_path / "test.json"), "--output", str(tmp_path / "one")])
    written = json.loads((tmp_path / "one" / "test.json").read_text())
    assert [row["category_id"] for row in written["annotations"]] == [1, 1, 1]
    assert [row["bbox"] for row in written["annotations"]] == [row["bbox"] for row in rows]
    assert written["images"] == data["images"] and len(written["categories"]) == 1


def test_blood_cells_become_coco(tmp_path):
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "test.txt").write_text("b\na\n")
    boxes = {"a": [("Platelets", 5, 6, 15, 26)], "b": [("WBC", 0, 0, 30, 20), ("RBC", 4, 4, 4, 9)]}
    for name, objects in boxes.items():
        things = "".join(
            f"<object><name>{kind}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
            f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
            for kind, x0, y0, x1, y1 in objects
        )
        size = "<size><width>64</width><height>48</height></size>"
        xml = f"<annotation>{size}{things}</annotation>"
        (tmp_path / "Annotations" / f"{name}.xml").write_text(xml)
    assert coco_of(tmp_path, "test") == {
        "images": [
            {"id": 1, "file_name": "b.jpg", "width": 64, "height": 48},
            {"id": 2, "file_name": "a.jpg", "width": 64, "height": 48},
        ],
        "annotations": [
            box(1, 1, 2, [0, 0, 30, 20]),
            box(2, 2, 3, [5, 6, 10, 20]),
        ],
        "categories": [
            {"id": 1, "name": "RBC"},
            {"id": 2, "name": "WBC"},
            {"id": 3, "name": "Platelets"},
        ],
    }


def box(number, image, category, corners):
    area = corners[2] * corners[3]
    ids = {"id": number, "image_id": image, "category_id": category}
    return ids | {"bbox": corners, "area": area, "iscrowd": 0}


def test_learning_curves(tmp_path):
    def run(arm, seed, *rows):
        folder = tmp_path / arm / f"seed{seed}"
        folder.mkdir(parents=True)
        lines = [{"iteration": i, "recall/APs": value} for i, value in rows]
        lines.insert(1, {"iteration": 10, "total_loss": 1.0})
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
        return TrainingRun(arm, seed, folder, tmp_path / "c.yaml", {}, 1)

    # Iteration 50 was run again after an interruption; 150 is not there in all runs.
    arms = {
        "stock": [run("stock", 1, (50, 9.0), (50, 10.0), (100, 20.0), (150, 1.0))],
        "scb": [run("scb", 1, (50, 12.0), (100, 21.0))],
    }
    arms["stock"].append(run("stock", 2, (50, 12.0), (100, 22.0)))
    arms["scb"].append(run("scb", 2, (50, 16.0), (100, 21.0)))
    found = curves_of(arms, "recall/APs")
    assert found["iterations"] == [50, 100]
    assert found["arms"]["stock"] == {"1": [10.0, 20.0], "2": [12.0, 22.0]}
    text = fill("<!-- table a curves -->\n<!-- end -->", {"a": found})
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    assert rows[2] == ["| stock", "11.0 ± 1.4", "21.0 ± 1.4 |"]
    # Differences 2 and 4: mean 3, standard error 1, t of one degree of freedom 12.706.
    assert rows[4] == ["| scb - stock", "+3.00 [-9.71, +15.71]", "+0.00 [-12.71, +12.71] |"]
