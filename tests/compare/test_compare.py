"""`scb-d2 compare` on simulated runs with a known difference."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from scb_d2.cli import main
from scb_d2.compare.report import comparison_figure, comparison_markdown
from scb_d2.compare.run import compare_arms
from scb_d2.compare.runs import load_arms
from scb_d2.compare.settings import CompareChoices, CompareSettings, recall_of_runs
from scb_d2.evaluation.recall import RecallSettings, evaluate_recall

from .simulated_runs import detections, scene, write_run

RATES = {"base": 0.4, "cand": 0.8}


@pytest.fixture
def runs(tmp_path):
    """Three seeds per arm; the candidate finds twice as many objects."""
    data = scene(40)
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(data))
    return {
        arm: [
            write_run(
                tmp_path / arm / f"seed{seed}",
                detections(data, rate, seed=10 * seed + (arm == "cand")),
                seed,
                truth,
            )
            for seed in (1, 2, 3)
        ]
        for arm, rate in RATES.items()
    }


def command(runs, output, *flags):
    arms = ["--baseline", *runs["base"], "--candidate", *runs["cand"]]
    return ["compare", *arms, "--output", str(output), "--resamples", "30", *flags]


def test_a_large_difference_is_found_and_written(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(command(runs, out, "--pictures", "2")) == 0
    assert "APs (primary): candidate better" in capsys.readouterr().out
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    pictures = ["pictures/01.png", "pictures/02.png"]
    assert names == ["compare.html", "compare.json", "compare.md", "compare.png", *pictures]
    result = json.loads((out / "compare.json").read_text())
    assert [row["seed"] for row in result["pairs"]] == [1, 2, 3]
    assert result["metrics"]["APs"]["verdict"] == "candidate better"
    low, high = result["metrics"]["recall_small_fp=baseline@0.3"]["interval"]
    assert low <= 40 <= high
    page = (out / "compare.html").read_text()
    # One file: nothing is loaded from elsewhere.
    assert all(src.startswith("data:") for src in re.findall(r"src='([^']+)'", page))
    assert "http" not in page


def test_photographs_that_cannot_be_read_are_drawn_as_grey(runs, tmp_path):
    (tmp_path / "photographs").mkdir()
    for n in range(1, 41):
        (tmp_path / "photographs" / f"{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    out = tmp_path / "out"
    flags = ["--pictures", "1", "--images", str(tmp_path / "photographs")]
    assert main(command(runs, out, *flags)) == 0
    assert (out / "pictures" / "01.png").is_file()


def test_values_are_those_of_scb_d2_recall(runs):
    arms = load_arms(runs["base"], runs["cand"])
    recall = RecallSettings(fp_per_image=(1.0,))
    result = compare_arms(arms, CompareSettings(recall=recall, resamples=0)).result
    for n, pair in enumerate(arms.detections):
        for arm, run in zip(("baseline", "candidate"), pair, strict=True):
            table = evaluate_recall(arms.ground_truth, run, recall)
            row = {name: metric[arm][n] for name, metric in result["metrics"].items()}
            assert row["APs"] == table["metrics"]["APs"]
            assert row["recall_small_0.3"] == table["thresholds"][2]["recall"]["small"]
            assert row["recall_medium_fp1"] == table["equal_false_positives"][0]["recall"]["medium"]
            for size, false in table["thresholds"][1]["fp_per_image"].items():
                assert row[f"fp_per_image_{size}_0.1"] == false


def test_recall_at_a_fixed_score_is_context_without_verdict(runs, tmp_path):
    assert main(command(runs, tmp_path / "out", "--pictures", "0")) == 0
    metrics = json.loads((tmp_path / "out" / "compare.json").read_text())["metrics"]
    assert metrics["recall_small_0.1"]["difference"] > 20
    for name, row in metrics.items():
        fixed = str(row["operating_point"]).startswith(("score@", "fp@"))
        assert (row["verdict"] is None) == fixed == (not row["judged"]), name
    page = (tmp_path / "out" / "compare.md").read_text()
    assert "## Context, without verdict" in page
    judged = page.split("## Context")[0]
    assert "recall_small_fp=baseline@0.3" in judged and "recall_small_0.1" not in judged


def test_one_seed_per_arm_cannot_tell(runs, tmp_path, capsys):
    one = {arm: paths[:1] for arm, paths in runs.items()}
    assert main(command(one, tmp_path / "out", "--pictures", "0")) == 0
    assert "cannot tell" in capsys.readouterr().out
    result = json.loads((tmp_path / "out" / "compare.json").read_text())
    verdicts = {row["verdict"] for row in result["metrics"].values()}
    assert verdicts == {"cannot tell", None}


def test_figure_and_tables_show_the_numbers_of_the_result(runs):
    arms = load_arms(runs["base"], runs["cand"])
    result = compare_arms(arms, CompareSettings(resamples=20, pictures=0)).result
    judged = [row for row in result["metrics"].values() if row["verdict"] is not None]
    axes = comparison_figure(result).axes[0]
    diamonds = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "D"]
    shown = [row["difference"] for row in judged]
    np.testing.assert_array_equal(diamonds, shown)
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots, [row["differences"] for row in judged])
    page = comparison_markdown(result)
    for row in judged:
        if np.isfinite(row["difference"]):
            assert f"{row['difference']:+.2f}" in page


def test_arms_on_different_data_are_refused(runs, tmp_path, capsys):
    data = scene(40)
    other = tmp_path / "other.json"
    other.write_text(json.dumps(data))
    odd = write_run(tmp_path / "odd", detections(data, 0.5, 7), 3, other)
    mixed = {**runs, "cand": [*runs["cand"][:2], odd]}
    assert main(command(mixed, tmp_path / "out")) == 1
    error = capsys.readouterr().err
    assert "different data" in error and "other.json" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--primary", "mAP"], "primary metric 'mAP'"),
        (["--confidence", "2"], "confidence"),
        (["--iou", "0"], "IoU"),
        (["--recall-at", "score@0.3"], "no verdict"),
    ],
)
def test_wrong_flags_give_one_sentence(runs, tmp_path, capsys, flags, says):
    assert main(command(runs, tmp_path / "out", *flags)) == 1
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1


def test_runs_without_results_or_annotations_are_named(tmp_path, capsys):
    results = tmp_path / "a.json"
    results.write_text("[]")
    flags = ["--output", str(tmp_path / "out")]
    missing = ["compare", "--baseline", str(tmp_path / "no"), "--candidate", str(results), *flags]
    assert main(missing) == 1
    assert "no such run" in capsys.readouterr().err
    both = ["compare", "--baseline", str(results), "--candidate", str(results), *flags]
    assert main(both) == 1
    assert "--annotations" in capsys.readouterr().err
    truth = tmp_path / "truth.json"
    truth.write_text(json.dumps(scene(3)))
    assert main([*both, "--annotations", str(truth), "--resamples", "5"]) == 0
    out = capsys.readouterr().out
    assert "holds no detections" in out and "cannot tell" in out


def test_without_flags_the_runs_own_settings_hold(runs, tmp_path):
    def measure(**keys):
        for arm in runs.values():
            for run in arm:
                path = Path(run) / "config.yaml"
                config = yaml.safe_load(path.read_text())
                config["TEST"] = {"RECALL": {"ENABLED": True, **keys}}
                path.write_text(yaml.safe_dump(config))

    measure(AREA_EDGES=[200.0, 1000.0], THRESHOLDS=[0.5])
    arms = load_arms(runs["base"], runs["cand"])
    members = [run for pair in arms.pairs for run in pair]
    choices = CompareChoices()
    settings = choices.settings(recall_of_runs(members, choices))
    assert settings.recall.bins.edges == (200.0, 1000.0)
    assert settings.recall.thresholds == (0.5,)
    assert main(command(runs, tmp_path / "own", "--pictures", "0")) == 0
    metrics = json.loads((tmp_path / "own" / "compare.json").read_text())["metrics"]
    # Objects have sides 12, 20 and 50: 144, 400 and 2,500 square pixels.
    assert metrics["APl"]["difference"] is not None
    chosen = CompareChoices(areas=[100.0, 200.0], thresholds=[0.1])
    settings = chosen.settings(recall_of_runs(members, chosen))
    assert settings.recall.bins.edges == (100.0, 200.0)
    assert settings.recall.thresholds == (0.1,)


def test_runs_on_two_data_sets_are_compared_on_the_chosen_one(tmp_path, capsys):
    """Each has a folder of its own; the candidate is better on one of them only."""
    folders = {"base": [], "cand": []}
    for arm, seed in ((arm, seed) for arm in folders for seed in (1, 2)):
        folder = tmp_path / arm / str(seed)
        sets, entries = {"first": scene(20, seed=1), "second": scene(30, seed=2)}, []
        for n, (name, data) in enumerate(sets.items()):
            truth = tmp_path / f"{name}.json"
            truth.write_text(json.dumps(data))
            rate = 0.8 if (arm, name) == ("cand", "first") else 0.4
            write_run(folder / name, detections(data, rate, 10 * seed + n), seed, truth, name)
            results = folder / name / "inference" / "coco_instances_results.json"
            (folder / "inference" / name).mkdir(parents=True)
            results.rename(folder / "inference" / name / results.name)
            entries += yaml.safe_load((folder / name / "config.yaml").read_text())["DATASETS"][
                "REGISTER"
            ]
        config = {"SEED": seed, "DATASETS": {"TEST": list(sets), "REGISTER": entries}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        folders[arm].append(str(folder))
    out, few = tmp_path / "out", ("--resamples", "0", "--pictures", "0")
    assert main(command(folders, out, *few)) == 1
    message = capsys.readouterr().err
    assert "has results on first, second; choose one by --dataset." in message
    assert main(command(folders, out, *few, "--dataset", "third")) == 1
    assert "has results on first, second; and not on third." in capsys.readouterr().err
    assert not out.exists()
    for name, images, better in (("first", 20, True), ("second", 30, False)):
        assert main(command(folders, out, *few, "--dataset", name)) == 0
        assert f"Data set: {name}." in capsys.readouterr().out
        result = json.loads((out / "compare.json").read_text())
        assert (result["dataset"], result["num_images"]) == (name, images)
        assert (result["metrics"]["APs"]["difference"] > 20) == better
        files = {
            arm: [f"{run}/inference/{name}/coco_instances_results.json" for run in paths]
            for arm, paths in folders.items()
        }
        by_files = load_arms(files["base"], files["cand"])  # files know their runs too
        assert (by_files.dataset, by_files.seeds) == (name, (1, 2))
