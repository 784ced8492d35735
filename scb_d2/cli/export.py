"""Turn a run into a stock config and checkpoint for plain Detectron2.

RUN is the output folder of train_net.py, of a RetinaNet, an FCOS or an R-CNN. OUTPUT gets
config.yaml and model_final.pth, which plain Detectron2 loads without this package: same detections,
no missing or unexpected key. Settings of the training with the scale-balanced loss are left out.

--format onnx or torchscript writes model.onnx or model.ts of a RetinaNet or an FCOS instead, which
run without Detectron2, and model.json, which says what goes in and what comes out.
"""

import argparse

from ._arguments import add_output

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("run_dir", metavar="RUN", help="output folder of train_net.py")
    add_output(parser)
    parser.add_argument(
        "--format",
        choices=("detectron2", "onnx", "torchscript"),
        default="detectron2",
        help="what to write (default: detectron2); onnx needs the extra 'export'",
    )
    parser.add_argument(
        "--weights", metavar="FILE", help="checkpoint (default: the run's final one, else its last)"
    )


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from scb_d2.export import export_run, export_traced, left_out

    if args.format == "detectron2":
        paths = export_run(args.run_dir, args.output, args.weights)
    else:
        paths = export_traced(args.run_dir, args.output, args.format, args.weights)
    print(f"Wrote {' and '.join(paths)}.")
    for sentence in left_out(args.run_dir):
        print(f"Note: {sentence}")
    return 0
