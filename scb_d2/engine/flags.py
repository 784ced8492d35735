"""The flags of ``train_net.py``: Detectron2's, known without importing it."""

import argparse
import os
import sys

__all__ = ["train_net_parser"]

_EXAMPLES = """
examples:
  python train_net.py --config-file configs/retinanet_scb.yaml --num-gpus 8
  python train_net.py --config-file configs/retinanet_scb.yaml SOLVER.BASE_LR 0.005
  python train_net.py --config-file configs/lazy/retinanet_scb.py train.max_iter=1000

several machines, on each of them:
  python train_net.py --config-file FILE --num-machines 2 --machine-rank 0 --dist-url tcp://HOST:PORT
"""


def train_net_parser() -> argparse.ArgumentParser:
    """A parser of the flags of ``detectron2.engine.default_argument_parser``.

    That one comes with seconds of imports, which ``--help`` and a mistyped flag would wait for.
    """
    parser = argparse.ArgumentParser(
        prog="train_net.py",
        description="Train or evaluate a detector, with or without the scale-balanced loss.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config-file",
        default="",
        metavar="FILE",
        help="YAML or LazyConfig .py, a path or a name of Detectron2's model zoo",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in the output folder"
    )
    parser.add_argument("--eval-only", action="store_true", help="evaluate only")
    parser.add_argument(
        "--no-rehearsal",
        action="store_true",
        help="start without trying the run's parts on a few images first",
    )
    parser.add_argument(
        "--num-gpus",
        type=int,
        default=1,
        metavar="N",
        help="GPUs of this machine, or processes without a GPU (default: 1)",
    )
    parser.add_argument(
        "--num-machines", type=int, default=1, metavar="N", help="machines in all (default: 1)"
    )
    parser.add_argument(
        "--machine-rank", type=int, default=0, metavar="N", help="number of this machine, from 0"
    )
    # A port of the user's own that stays the same: a busy one shows an orphan of an earlier run.
    user = os.getuid() if sys.platform != "win32" else 1
    parser.add_argument(
        "--dist-url",
        default=f"tcp://127.0.0.1:{2**15 + 2**14 + user % 2**14}",
        metavar="URL",
        help="where the processes meet (default: a port of this machine)",
    )
    parser.add_argument(
        "opts",
        nargs=argparse.REMAINDER,
        default=None,
        metavar="KEY VALUE",
        help="overrides of the config's keys, after all flags; key=value for a .py",
    )
    return parser
