"""From a config to a trained, evaluated and pictured model."""

import argparse
import json
import math
import os
import platform
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.utils.logger import setup_logger

from scb_d2.engine.config.load import load_config
from scb_d2.engine.config.rehearsal import check_run
from scb_d2.engine.run_folder import set_up_run
from scb_d2.engine.training.trainer import Trainer
from scb_d2.evaluation.results_table import RESULTS_FILE
from scb_d2.matches.run import match_report, write_match_report
from scb_d2.utils.files import atomic_write
from scb_d2.utils.hardware import available_cores
from scb_d2.utils.user_errors import hide_user_tracebacks

from .closing import MATCHES_FOLDER, closing_block
from .folder import SUMMARY_FILE, finished_summary, prepare_folder
from .pictures import write_pictures
from .progress import Progress, duration, short_console

__all__ = ["run_quickstart"]

_MATCHED_IMAGES = 200
_MATCH_SAMPLES = 2


def run_quickstart(
    config_file: str, output: str, opts: Sequence[str] = (), restart: bool = False
) -> None:
    """Train, evaluate and picture; resume what was interrupted.

    Args:
        config_file: a config whose data sets are of COCO's kind.
        output: folder to write into.
        opts: ``[KEY, VALUE, ...]`` overrides.
        restart: whether to start over where ``output`` holds a run.

    Raises:
        UserError: if the config is wrong or the folder holds another run.
    """
    start = time.monotonic()
    torch.set_num_threads(min(torch.get_num_threads(), available_cores()))
    with short_console() as console:

        def say(text: str) -> None:
            print(text, file=console, flush=True)

        cfg = load_config(config_file, [*opts, "OUTPUT_DIR", output])
        prepare_folder(cfg, restart)
        summary = finished_summary(Path(output))
        if summary:
            say(f"{output} holds a finished run; start over with --restart.")
        else:
            loss = "the scale-balanced loss" if cfg.MODEL.SCB.ENABLED else "its stock loss"
            say(f"Quick start: {cfg.MODEL.META_ARCHITECTURE} with {loss}")
            say(f"[1/4] Checking the data, {' and '.join(_datasets(cfg))} ...")
            check_run(cfg, 1, resume=True, eval_only=False)
            say("[2/4] Counting the anchors that each object matches ...")
            verdict = _match_report(config_file, [*opts, "OUTPUT_DIR", output], output)
            say(textwrap.fill(verdict, 90, initial_indent="      ", subsequent_indent="      "))
            hardware = _hardware(cfg.MODEL.DEVICE)
            say(
                f"[3/4] Training {cfg.SOLVER.MAX_ITER} iterations of {cfg.SOLVER.IMS_PER_BATCH} "
                f"images on {hardware} (all details in {output}/log.txt) ..."
            )
            _train(cfg, config_file, Progress(console))
            say("[4/4] Drawing detections and curves ...")
            write_pictures(cfg, _metrics(cfg)["bbox"])
            summary = {"seconds": round(time.monotonic() - start), "hardware": hardware}
            with atomic_write(os.path.join(output, SUMMARY_FILE), encoding="utf-8") as file:
                json.dump(summary, file)
        taken = f"{duration(summary['seconds'])} on {summary['hardware']}"
        say(closing_block(cfg, _metrics(cfg), taken))


def _train(cfg: CfgNode, config_file: str, progress: Progress) -> None:
    """What ``train_net.py --resume`` does in one process, with another view of the progress."""
    set_up_run(cfg, argparse.Namespace(config_file=config_file))
    setup_logger(cfg.OUTPUT_DIR, name="scb_d2", configure_stdout=False)
    hide_user_tracebacks()
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=True)
    trainer.register_hooks([progress])
    trainer.train()


def _datasets(cfg: CfgNode) -> list[str]:
    return list(dict.fromkeys([*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST]))


def _match_report(config_file: str, opts: Sequence[str], output: str) -> str:
    report = match_report(
        config_file, opts, max_images=_MATCHED_IMAGES, max_samples=_MATCH_SAMPLES, progress=False
    )
    write_match_report(report, os.path.join(output, MATCHES_FOLDER))
    return report.verdict.text


def _metrics(cfg: CfgNode) -> dict[str, dict[str, float]]:
    """Metrics of the run's first test set by task; nan where there is no value."""
    path = Path(cfg.OUTPUT_DIR) / RESULTS_FILE
    tasks = json.loads(path.read_text(encoding="utf-8"))[cfg.DATASETS.TEST[0]]
    return {
        task: {name: math.nan if value is None else value for name, value in metrics.items()}
        for task, metrics in tasks.items()
    }


def _hardware(device: str) -> str:
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(torch.device(device))
    return f"the CPU ({torch.get_num_threads()} threads, {platform.machine()})"
