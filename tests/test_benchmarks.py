import inspect
import json
from itertools import groupby

import pytest
import torch

from benchmarks import __main__ as main
from benchmarks import (
    assignment,
    assignment_memory,
    bfloat16,
    growth,
    loss_memory,
    training,
    weights,
)
from benchmarks.harness import compare, from_pairs
from scb_d2.utils.revision import revision

TOY = {"toy SSD": ("projects/SSD/configs/ssd_toy_scb.yaml", (160, 160))}
# Not "cpu", so the GPU's measures are taken, yet what PyTorch has everywhere.
AS_IF_GPU = "cpu:0"


@pytest.fixture
def gpu_calls(monkeypatch):
    """Calls of torch.cuda that a GPU would answer."""
    calls = []
    answers = {
        "synchronize": None,
        "memory_allocated": 0,
        "max_memory_allocated": 2**20,
        "reset_peak_memory_stats": None,
        "get_sync_debug_mode": 0,
        "set_sync_debug_mode": None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(
            torch.cuda, name, lambda *args, n=name, a=answer: calls.append((n, *args)) or a
        )
    return calls


def test_ratio_is_the_median_of_pairs():
    row = from_pairs("x", [(1, 2), (3, 2), (8, 2), (1, 1), (5, 5)], "s", target=1.0)
    assert (row.ratio, row.candidate, row.reference, row.pairs) == (1.0, 3, 2, 5)
    assert row.low <= row.ratio <= row.high


@pytest.mark.parametrize(
    ("pairs", "target", "rule", "met"),
    [
        ([(1, 2)], None, "most", None),
        ([(1, 2)], 0.5, "most", True),
        ([(2, 1)], 0.5, "most", False),
        ([(1.1, 1), (1, 1), (1.2, 1)], 1.005, "most", False),
        ([(1.1, 1), (1, 1), (1.2, 1)], 1.005, "interval", True),
        ([(1.1, 1), (1.2, 1)], 1.005, "interval", False),
        ([(7, 7)], 1.0, "equal", True),
        ([(6, 7)], 1.0, "equal", False),
        ([(0, 0)], 1.0, "most", True),
        ([(1, 0)], 1.0, "most", False),
    ],
)
def test_targets(pairs, target, rule, met):
    assert from_pairs("x", pairs, "s", target, rule).met is met


def test_which_goes_first_alternates():
    calls = []
    compare("x", lambda: calls.append("a"), lambda: calls.append("b"), pairs=4)
    # To warm up a, b; then a b, b a, a b, b a.
    assert [name for name, _ in groupby(calls)] == list("abababa")


def test_weights_equal_the_loop():
    idxs, labels = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([1, 1, 0, -1, 1])
    ours = weights.ScaleBalancedWeight()(idxs, labels, torch.zeros(2, 4))
    torch.testing.assert_close(weights.loop(idxs, labels), ours)


def test_bfloat16_measures(repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    monkeypatch.setattr(bfloat16, "_CONFIGS", TOY)
    monkeypatch.setattr(bfloat16, "cpu_has_bfloat16", lambda: True)
    names = [row.name for row in bfloat16.measure("cpu", quick=True)]
    assert names == [
        "training step in bfloat16 / stock's in float32, toy SSD",
        "training step in bfloat16 with channels last / without, toy SSD",
    ]
    assert not list(bfloat16.measure("cuda", quick=True))
    monkeypatch.setattr(bfloat16, "cpu_has_bfloat16", lambda: False)
    assert not list(bfloat16.measure("cpu", quick=True))


@pytest.mark.parametrize("device", ["cpu", AS_IF_GPU])
def test_training_measures(device, gpu_calls, repo_root, monkeypatch):
    monkeypatch.chdir(repo_root)
    monkeypatch.setattr(training, "_CONFIGS", TOY)
    rows = {row.name: row for row in training.measure(device, quick=True)}
    expected = {
        "training step, toy SSD",
        "step + time added in labelling and losses, toy SSD",
        "waits of the host for the device in it, toy SSD",
        "step with statistics every 20 iterations, toy SSD",
        "inference, toy SSD",
        "parameters, toy SSD",
        "checkpoint keys in both / in either, toy SSD",
    }
    if device == AS_IF_GPU:
        expected.add("peak allocated memory of it, toy SSD")
        assert ("set_sync_debug_mode", "warn") in gpu_calls and ("synchronize",) in gpu_calls
    assert rows.keys() == expected
    for name in ("waits of the host for the device in it, toy SSD", "parameters, toy SSD"):
        assert rows[name].met
    assert rows["checkpoint keys in both / in either, toy SSD"].met


def test_assignment_measures_as_on_a_gpu(gpu_calls):
    assert list(assignment.measure(AS_IF_GPU, quick=True))
    names = [row.name for row in assignment_memory.measure(AS_IF_GPU, quick=True)]
    assert any(name.startswith("waits of the host") for name in names)
    assert ("reset_peak_memory_stats",) in gpu_calls


def test_page_and_json(tmp_path, monkeypatch):
    rows = [
        from_pairs("a thing", [(1.0, 4.0), (1.0, 2.0)], "s", 0.5),
        from_pairs("another", [(3, 2)], "MB", 1.0),
    ]
    monkeypatch.setattr(weights, "measure", lambda device, quick: rows)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    argv = ["benchmarks", "--only", "weights", "--quick", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", argv)
    main.main()
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| a thing | 1 s | 3 s | 0.375 (0.25 - 0.5, 2 pairs) | <= 0.5 | met |" in page
    assert "| another | 3 MB | 2 MB | 1.5 | <= 1 | **missed** |" in page
    assert "mean nothing" in page
    found = json.loads((tmp_path / "benchmarks.json").read_text())
    assert [row["met"] for row in found["results"]["cpu"]["weights"]["rows"]] == [True, False]
    assert "Not run: there was no GPU." in page
    assert "processor" in found["hardware"]

    monkeypatch.setattr(bfloat16, "measure", lambda device, quick: rows[1:])
    monkeypatch.setattr("sys.argv", ["benchmarks", "--only", "bfloat16", *argv[3:], "--keep"])
    main.main()
    kept = json.loads((tmp_path / "benchmarks.json").read_text())["results"]["cpu"]
    assert kept["weights"] == found["results"]["cpu"]["weights"]
    assert [row["name"] for row in kept["bfloat16"]["rows"]] == ["another"]
    commit = kept["bfloat16"]["commit"]
    assert commit == revision() and f"commit {commit[:10]}" in page
    assert (tmp_path / "benchmarks.md").read_text().count("| another |") == 2


def test_a_run_that_breaks_off_leaves_its_whole_parts(tmp_path, monkeypatch):
    def broken(device, quick):
        yield from_pairs("half", [(1, 2)], "s")
        raise MemoryError

    monkeypatch.setattr(weights, "measure", lambda *_: [from_pairs("whole", [(1, 2)], "s")])
    monkeypatch.setattr(bfloat16, "measure", broken)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    argv = ["benchmarks", "--only", "weights", "bfloat16", "--keep", "--output", str(tmp_path)]
    monkeypatch.setattr("sys.argv", argv)
    with pytest.raises(MemoryError):
        main.main()
    found = json.loads((tmp_path / "benchmarks.json").read_text())["results"]["cpu"]
    page = (tmp_path / "benchmarks.md").read_text()
    assert list(found) == ["weights"] and "| whole |" in page and "half" not in page


@pytest.mark.parametrize("kind", ["RetinaNet", "FCOS"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_whose_memory_is_measured_have_gradients(kind, weighted):
    run = loss_memory.losses_of(kind, weighted, "cpu", (96, 128))
    run()
    losses = inspect.getclosurevars(run).nonlocals["losses"]
    predictions = inspect.getclosurevars(losses).nonlocals["predictions"]
    assert all(x.grad is not None for part in predictions.values() for x in part)


def test_growth_draws_a_figure_and_compares_slopes(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "_fresh_memory", lambda name, points: [1.0 for _ in points])
    rows = list(growth.measure("cpu", True, tmp_path))
    assert [row.name.split(" of labelling")[0] for row in rows] == [
        "exponent of the time", "exponent of the memory"
    ] * 2  # fmt: skip
    assert rows[1].candidate == pytest.approx(0)
    assert (tmp_path / "growth_cpu.png").stat().st_size < 200_000
