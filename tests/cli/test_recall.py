"""`scb-d2 recall`: its output, and no output after bad input."""

import json

import pytest

from scb_d2.cli import main
from tests.evaluation.scenes import annotations, result


@pytest.fixture
def files(tmp_path):
    def write(results, name="results.json"):
        data = annotations({"bbox": [10, 10, 20, 20]}, {"bbox": [100, 100, 50, 50]})
        (tmp_path / "truth.json").write_text(json.dumps(data))
        (tmp_path / name).write_text(json.dumps(results))
        return ["recall", str(tmp_path / name), str(tmp_path / "truth.json")]

    return write


def test_table_json_page_and_figure(files, tmp_path, capsys):
    command = files([result([10, 10, 20, 20], 0.2)])
    assert main([*command, "--output", str(tmp_path / "out")]) == 0
    assert "100.00 (1/1)" in capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert [row["hits"]["small"] for row in table["thresholds"]] == [1, 1, 0]
    assert table["thresholds"][0]["recall"]["large"] is None
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["recall.json", "recall.md", "recall.png"]


def test_flags(files, tmp_path):
    command = files([result([10, 10, 20, 20], 0.2, category_id=3)])
    flags = "--iou 0.75 --thresholds 0.15 --areas 100 500 2000 --match any --fp-per-image 2"
    size = "--area input --input-size 600 1333"
    assert main([*command, *flags.split(), *size.split(), "--output", str(tmp_path / "o")]) == 0
    table = json.loads((tmp_path / "o" / "recall.json").read_text())
    assert table["rules"]["iou"] == 0.75
    # 20 x 20 and 50 x 50 at twice the size
    assert table["objects"] == {"all": 2, "0-100": 0, "100-500": 0, "500-2000": 1, "2000-inf": 1}
    assert table["thresholds"][0]["hits"]["500-2000"] == 1


def test_no_detections_are_recall_0(files, tmp_path, capsys):
    assert main([*files([]), "--output", str(tmp_path / "out")]) == 0
    assert "holds no detections" in capsys.readouterr().out
    table = json.loads((tmp_path / "out" / "recall.json").read_text())
    assert table["metrics"]["AP"] == table["thresholds"][0]["recall"]["all"] == 0


@pytest.mark.parametrize("flags", [["--iou", "2"], ["--areas", "5", "3"], ["--area", "input"]])
def test_wrong_flags_give_one_sentence(files, capsys, flags):
    assert main([*files([]), *flags]) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_bad_results_leave_the_output_untouched(files, tmp_path, capsys):
    out = tmp_path / "out"
    assert main([*files([result([10, 10, 20, 20], 0.2)]), "--output", str(out)]) == 0
    before = {path: path.read_bytes() for path in out.iterdir()}
    bad = files([result([10, 10, 20, 20], 0.2, image_id=8)], "bad.json")
    assert main([*bad, "--output", str(out)]) == 1
    error = capsys.readouterr().err
    assert "image_id 8" in error and "Traceback" not in error
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert main([*bad, "--output", str(tmp_path / "new")]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "bad.json",
        "out",
        "results.json",
        "truth.json",
    ]
