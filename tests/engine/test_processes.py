"""Several processes on the CPU: the launcher, torchrun, two machines, failures."""

from __future__ import annotations

import argparse
import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import Popen

import pytest
import torch

from scb_d2 import ConfigError
from scb_d2.engine.processes import check_flags, check_processes, world_size

TIMEOUT = 400  # seconds; a hang, not a slow machine, should end a test

# train_net.py in which rank 1 fails before the iteration FAIL_AT of its first attempt.
FAULTY = """
import os, signal, sys
from pathlib import Path
from detectron2.utils import comm
from scb_d2.engine.main import main
from scb_d2.engine.training.trainer import Trainer
from scb_d2.errors import DataError

run_step = Trainer.run_step

def faulty(self):
    attempt = Path("attempted")
    if comm.get_rank() == 1 and self.iter == 2 and not attempt.exists():
        attempt.touch()
        {fault}
    run_step(self)

Trainer.run_step = faulty

if __name__ == "__main__":
    sys.exit(main())
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
USER_ERROR = 'raise DataError("the image 7 is broken.")'


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _iteration(run: Path) -> int:
    return torch.load(run / "model_final.pth")["iteration"]


def _world_sizes(run: Path) -> list[str]:
    log = (run / "log.txt").read_text()
    return [line.rpartition(": ")[2] for line in log.splitlines() if "World size" in line]


@pytest.mark.parametrize("config", ["tiny_yaml", "tiny_lazy"])
def test_two_processes(
    request: pytest.FixtureRequest,
    config: str,
    tmp_path: Path,
    repo_root: Path,
    start: Callable[..., Popen],
) -> None:
    path = request.getfixturevalue(config)
    process = start(repo_root / "train_net.py", "--config-file", path, "--num-gpus", "2")
    _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, error
    run = tmp_path / "run"
    assert _iteration(run) == 3
    assert _world_sizes(run) == ["2"]
    assert json.loads((run / "results.json").read_text())["shapes_val"]["bbox"]["AP"] >= 0


def test_two_machines_finish_together(
    tiny_yaml: Path, tmp_path: Path, repo_root: Path, start: Callable[..., Popen]
) -> None:
    url = f"tcp://127.0.0.1:{_free_port()}"
    flags = ["--config-file", tiny_yaml, "--num-machines", "2", "--dist-url", url]
    machines = [
        start(repo_root / "train_net.py", *flags, "--machine-rank", str(rank)) for rank in (1, 0)
    ]
    with ThreadPoolExecutor() as pool:  # one whose output is not read would wait for a reader
        outputs = list(pool.map(lambda machine: machine.communicate(timeout=TIMEOUT), machines))
    for machine, (_, error) in zip(machines, outputs, strict=True):
        assert machine.returncode == 0, error
    assert _iteration(tmp_path / "run") == 3
    assert _world_sizes(tmp_path / "run") == ["2"]


def _torchrun(*flags: str) -> list[str]:
    port = str(_free_port())
    return ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", port, *flags]


def test_torchrun_restarts_and_resumes(
    tiny_yaml: Path, tmp_path: Path, start: Callable[..., Popen]
) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY.format(fault=KILL))
    opts = ["--config-file", tiny_yaml, "--resume"]
    process = start(*_torchrun("--max-restarts", "1"), script, *opts)
    _, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, error
    run = tmp_path / "run"
    assert _iteration(run) == 3
    assert "Starting training from iteration 2" in (run / "log.txt").read_text()


@pytest.mark.parametrize(
    ("fault", "expected"), [(KILL, "SIGKILL"), (USER_ERROR, "the image 7 is broken.")]
)
def test_a_dying_process_ends_the_run_with_its_own_error(
    tiny_yaml: Path, tmp_path: Path, start: Callable[..., Popen], fault: str, expected: str
) -> None:
    script = tmp_path / "faulty.py"
    script.write_text(FAULTY.format(fault=fault))
    process = start(script, "--config-file", tiny_yaml, "--num-gpus", "2")
    output, error = process.communicate(timeout=TIMEOUT)
    assert process.returncode not in (0, None)
    assert expected in error.strip().splitlines()[-1]
    if fault == USER_ERROR:
        assert "Traceback" not in error + output


def _flags(**given: object) -> argparse.Namespace:
    defaults = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": "tcp://h:1"}
    return argparse.Namespace(**{**defaults, **given})


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"num_gpus": 0}, "--num-gpus must be at least 1"),
        ({"num_machines": 0}, "--num-machines must be at least 1"),
        ({"num_machines": 2, "machine_rank": 2}, "--machine-rank must be from 0 to 1"),
        ({"machine_rank": -1}, "--machine-rank"),
        ({"num_machines": 2, "dist_url": "auto"}, "--dist-url auto works on one machine only"),
    ],
)
def test_wrong_flags_get_one_sentence(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        check_flags(_flags(**given))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ConfigError, match="--num-gpus 8 asks for more GPUs than the 2"):
        check_processes(_flags(num_gpus=8), "cuda")
    check_processes(_flags(num_gpus=8), "cpu")
    check_processes(_flags(num_gpus=2), "cuda")


def test_torchrun_decides_the_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert world_size(_flags(num_gpus=2, num_machines=3)) == 6
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 4, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    check_flags(_flags())
    check_flags(_flags(num_gpus=2))
    assert world_size(_flags()) == 4
    with pytest.raises(ConfigError, match="--nproc-per-node"):
        check_flags(_flags(num_gpus=3))


def test_a_batch_is_shared_evenly(
    tiny_yaml: Path, capfd: pytest.CaptureFixture[str], repo_root: Path
) -> None:
    from scb_d2.engine.main import main

    assert main(["--config-file", str(tiny_yaml), "--num-gpus", "3"]) == 1
    error = capfd.readouterr().err
    assert "IMS_PER_BATCH must be at least 1 and a multiple of the 3 processes; got 2" in error


@pytest.mark.parametrize(
    ("flags", "refused"),
    [
        ({"num_gpus": 2}, True),
        ({"num_machines": 2}, True),
        ({"num_machines": 2, "machine_rank": 1}, False),
        ({"num_gpus": 1}, False),
        ({"num_gpus": 2, "dist_url": "auto"}, False),
        ({"num_gpus": 2, "dist_url": "tcp://127.0.0.1:99999999"}, True),
    ],
)
def test_a_taken_port_is_told_where_it_would_be_listened_at(
    flags: dict[str, object], refused: bool
) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        common = {"num_gpus": 1, "num_machines": 1, "machine_rank": 0, "dist_url": url}
        args = argparse.Namespace(**{**common, **flags})
        if refused:
            with pytest.raises(ConfigError, match=rf"--dist-url {args.dist_url}: this machine"):
                check_processes(args, "cpu")
        else:
            check_processes(args, "cpu")
    if args.dist_url == url:
        check_processes(args, "cpu")
