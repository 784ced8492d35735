"""From a run to a file that detects without Detectron2: ONNX or TorchScript."""

import io
import json
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.export import TracingAdapter
from detectron2.modeling import RetinaNet
from detectron2.modeling.meta_arch.fcos import FCOS
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from scb_d2.errors import ConfigError
from scb_d2.utils.files import atomic_write, make_output_folder

from .stock import stock_run

__all__ = ["export_traced"]

_OPSET = 17
_OUTPUTS = ("boxes", "scores", "classes")
_PIXELS, _SCORE = 1e-2, 1e-4  # by which a file's detections may differ from PyTorch's
_TOLD = 60  # detections that are compared
_SIZES = ((192, 256), (256, 160))  # of the image that is traced, and of the one that checks it

Detect = Callable[[Tensor], tuple[Tensor, ...]]


def export_traced(
    run: str, output: str, file_format: str, weights: str | None = None
) -> tuple[str, str]:
    """Write a run as a file that takes an image of any size and gives its detections.

    Before anything is written the file is run on images of two sizes, and must detect what PyTorch
    detects.

    Args:
        run: output folder of ``train_net.py``, of a RetinaNet or an FCOS.
        output: folder to write into, made if absent.
        file_format: ``"onnx"`` or ``"torchscript"``.
        weights: checkpoint of the run; by default its final one, else its last.

    Returns:
        Paths of the model and of ``model.json``, which says what goes in and what comes out.

    Raises:
        ConfigError: see :func:`.export_run`; and if the model is neither, packages of
            the extra ``export`` are missing, or the file detects otherwise than PyTorch.
    """
    if file_format == "onnx":
        _check_packages()
    stock, model = stock_run(run, output, weights)
    if not isinstance(model, RetinaNet | FCOS):
        raise ConfigError(
            f"--format {file_format} exports RetinaNet and FCOS; the run {run} is a "
            f"{type(model).__name__}, which --format detectron2 exports."
        )
    detector = _detector(model.eval())
    images = [torch.rand(3, *size) * 255 for size in _SIZES]
    trace = _to_onnx if file_format == "onnx" else _to_torchscript
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what tracing keeps as constants; the check tells
        # A trained detector sees nothing in noise: with a lower threshold there is what to compare.
        threshold = model.test_score_thresh
        try:
            model.test_score_thresh = _telling_threshold(detector, images)
            _check_detections(detector, trace(detector, images[0])[1], images, file_format)
        finally:
            model.test_score_thresh = threshold
        content, detect = trace(detector, images[0])
        _check_detections(detector, detect, images, file_format)
    make_output_folder(output)
    path = os.path.join(output, "model.onnx" if file_format == "onnx" else "model.ts")
    about = os.path.join(output, "model.json")
    with atomic_write(path, "wb") as file:
        file.write(content)
        with atomic_write(about, encoding="utf-8") as description:
            description.write(json.dumps(_about(stock, model), indent=1) + "\n")
    return path, about


def _detector(model: nn.Module) -> TracingAdapter:
    def inference(model: nn.Module, inputs: list[dict[str, Tensor]]) -> tuple[Tensor, ...]:
        found = model(inputs)[0]["instances"]
        return found.pred_boxes.tensor, found.scores, found.pred_classes

    return TracingAdapter(model, [{"image": torch.zeros(3, *_SIZES[0])}], inference).eval()


def _to_torchscript(detector: TracingAdapter, image: Tensor) -> tuple[bytes, Detect]:
    script = torch.jit.trace(detector, (image,), check_trace=False)
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    return buffer.getvalue(), script


def _to_onnx(detector: TracingAdapter, image: Tensor) -> tuple[bytes, Detect]:
    import onnxruntime

    buffer = io.BytesIO()
    torch.onnx.export(
        detector,
        (image,),
        buffer,
        opset_version=_OPSET,
        dynamo=False,  # the other exporter cannot follow the number of detections
        input_names=["image"],
        output_names=list(_OUTPUTS),
        # Without them the file takes images of the traced size alone, as Detectron2's own does.
        dynamic_axes={
            "image": {1: "height", 2: "width"},
            **{name: {0: "detections"} for name in _OUTPUTS},
        },
    )
    session = onnxruntime.InferenceSession(buffer.getvalue(), providers=["CPUExecutionProvider"])
    return buffer.getvalue(), lambda image: tuple(
        torch.from_numpy(x) for x in session.run(None, {"image": image.numpy()})
    )


def _check_packages() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            f"--format onnx needs the package {error.name}: pip install 'scb_d2[export]'."
        ) from None


def _check_detections(
    detector: TracingAdapter, detect: Detect, images: Sequence[Tensor], file_format: str
) -> None:
    for image in images:
        if not _same_detections(detector(image), detect(image)):
            raise ConfigError(
                f"the {file_format} file detects otherwise than PyTorch on an image of "
                f"{image.shape[2]} x {image.shape[1]} pixels, so it is not written."
            )


def _same_detections(expected: tuple[Tensor, ...], found: tuple[Tensor, ...]) -> bool:
    """Whether two sets of detections agree; those of one score to rounding may change places."""
    if [x.shape for x in expected] != [x.shape for x in found]:
        return False
    boxes, scores, classes = (
        (a.float()[:, None] - b.float()[None]).abs() for a, b in zip(expected, found, strict=True)
    )
    pairs = (boxes.amax(dim=2) <= _PIXELS) & (scores <= _SCORE) & (classes == 0)
    return bool((pairs.any(dim=0) & pairs.any(dim=1)).all())


def _telling_threshold(detector: TracingAdapter, images: Sequence[Tensor]) -> float:
    """A score that detections of the images exceed, in the widest gap among the first of them."""
    detector.model.test_score_thresh = 0.0
    scores = torch.cat([detector(image)[1] for image in images]).sort(descending=True).values
    scores = scores[: _TOLD + 1]
    if len(scores) < 2:
        return 0.0
    widest = int((scores[:-1] - scores[1:])[len(scores) // 2 :].argmax()) + len(scores) // 2
    return float(scores[widest : widest + 2].mean())


def _about(stock: CfgNode | DictConfig, model: nn.Module) -> dict[str, Any]:
    if isinstance(stock, DictConfig):
        mapper = OmegaConf.select(stock, "dataloader.test.mapper")
        channels = OmegaConf.select(stock, "dataloader.test.mapper.image_format") or "BGR"
        resize = str(OmegaConf.to_container(mapper.augmentations)) if mapper else ""
    else:
        channels = stock.INPUT.FORMAT
        resize = (
            f"shorter edge {stock.INPUT.MIN_SIZE_TEST}, longer edge at most "
            f"{stock.INPUT.MAX_SIZE_TEST} pixels"
        )
    return {
        "input": {
            "name": "image",
            "shape": [3, "height", "width"],
            "type": "float32, 0 to 255; the model normalises it",
            "channels": channels,
            "resized_in_evaluation": resize,
        },
        "outputs": {
            "boxes": "(detections, 4) float32 x1 y1 x2 y2, pixels of the input",
            "scores": "(detections,) float32, falling",
            "classes": "(detections,) int64, in [0, num_classes)",
        },
        "num_classes": model.num_classes,
    }
