"""Every wrong input of the corpus ends in exactly one sentence, exit status 1 and no output."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest

from scb_d2.cli import main
from scb_d2.engine.main import main as train
from scb_d2.modeling.class_names import CLASS_KEYS
from tests.faults.bad_inputs import CASES, write_good_inputs

MESSAGES = {
    "config missing": "the config file none.yaml does not exist, neither as a path nor as a name in Detectron2's model zoo.",
    "config is a folder": "the config file run does not exist, neither as a path nor as a name in Detectron2's model zoo.",
    "config empty": "config.yaml does not hold config keys and values.",
    "config a list": "config.yaml does not hold config keys and values.",
    "config a text": "config.yaml does not hold config keys and values.",
    "config not YAML": "config.yaml is not valid YAML: while parsing a flow sequence in \"config.yaml\", line 1, column 8 expected ',' or ']', but got '<stream end>' in \"config.yaml\", line 2, column 1.",
    "config with a tab": "config.yaml is not valid YAML: while scanning for the next token found character '\\t' that cannot start any token in \"config.yaml\", line 2, column 1.",
    "config twice nested": "config.yaml: MODEL.SCB.ENABLED must be True or False; got CfgNode({'A': 1}).",
    "config runs code": "config.yaml holds what is no plain value: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.system' (config.yaml, line 1).",
    "config evaluates code": "config.yaml is not valid YAML: code in a config is not run, but for the anchor sizes of Detectron2's zoo: write the values that \"open('x')\" stands for.",
    "base missing": "cannot read the _BASE_ of config.yaml, none.yaml: No such file or directory.",
    "base itself": "config.yaml names itself as its _BASE_.",
    "key misspelt": "config.yaml: MODEL.SCB.ENABLE is not a key; there are ENABLED, STAGES, FORM, ALPHA, BETA, LOSSES, COUNT, LOW_QUALITY, NORMALIZER, LOG_PERIOD. Did you mean MODEL.SCB.ENABLED?",
    "key of numbers": "config.yaml: a config key must be text; got 3.",
    "no value": "overrides are pairs KEY VALUE; MODEL.SCB.ALPHA has no value.",
    "flag after overrides": "--strict must come before the KEY VALUE overrides.",
    "alpha nan": "command line: MODEL.SCB.ALPHA must be a finite number above 0; got nan.",
    "beta zero": "command line: MODEL.SCB.BETA must be a finite number above 0; got 0.0.",
    "form unknown": "command line: MODEL.SCB.FORM must be one of information, inverse_sqrt, inverse, inverse_log, uniform, log_area, inverse_sqrt_area, or MODULE.NAME of one that you register; got 'informative'.",
    "stage unknown": "command line: MODEL.SCB.STAGES must name one or more of first, second, each once; got ('third',).",
    "losses empty": "command line: MODEL.SCB.LOSSES must name one or more of cls, box, centerness, each once; got ().",
    "text for a number": "command line: SOLVER.MAX_ITER must be of type int; got many (str).",
    "group for a value": "command line: MODEL.SCB is a group of keys; got the value 1.",
    "set unknown": "DATASETS.TRAIN names the data set 'mime', which is not registered (did you mean 'mine'; register your own with DATASETS.REGISTER).",
    "set unnamed": "DATASETS.TRAIN names no data set to train on; 'shapes_train' is there without any download.",
    "register no list": "command line: DATASETS.REGISTER must be of type list; got 3 (int).",
    "register without a name": "DATASETS.REGISTER[0].NAME must be a non-empty string, not None.",
    "register another format": "DATASETS.REGISTER[0].FORMAT must be one of 'coco', 'voc' and 'yolo', not 'tf'.",
    "register without files": "DATASETS.REGISTER[0].JSON must be a non-empty string, not None.",
    "image a pipe": "The annotation file coco/a.json names image files that cannot be read: 1 (coco/images/b.png: it is a pipe, a socket or a device).",
    "architecture unknown": "MODEL.META_ARCHITECTURE must name one of {META_ARCHITECTURE}; got 'RetinaNett' (did you mean RetinaNet?).",
    "architecture without the loss": "MODEL.SCB.ENABLED is True, but the scale-balanced loss does not support MODEL.META_ARCHITECTURE 'SemanticSegmentor'; it supports the meta-architectures DSSD, RefineDet, RetinaNet, SSD, ScaleBalancedRetinaNet; and GeneralizedRCNN, PanopticFPN, ProposalNetwork with the proposal generator RPN, RRPN (first stage) or the ROI heads CascadeROIHeads, RROIHeads, Res5ROIHeads, StandardROIHeads (second stage).",
    "backbone unknown": "MODEL.BACKBONE.NAME must name one of {BACKBONE.NAME}; got 'build_resnet' (did you mean build_resnet_backbone?).",
    "backbone without the features": "the model cannot be made with MODEL.RETINANET.IN_FEATURES ['p3', 'p4', 'p5', 'p6', 'p7']: KeyError: 'p3'; the backbone gives res3, res4, res5.",
    "feature unknown": "the model cannot be made with MODEL.RETINANET.IN_FEATURES ['p2', 'p3']: KeyError: 'p2'; the backbone gives p3, p4, p5, p6, p7.",
    "features none": "the model cannot be made with MODEL.RETINANET.IN_FEATURES []: Got sizes of length 5 in anchor generator, but the number of input features is 0; the backbone gives p3, p4, p5, p6, p7.",
    "trunk without the features": "the model cannot be made with MODEL.FPN.IN_FEATURES ['res2']: KeyError: 'res2'; MODEL.RESNETS.OUT_FEATURES is ['res3', 'res4', 'res5'].",
    "trunk without such maps": "the model cannot be made of the config's MODEL (MODEL.RESNETS.OUT_FEATURES may be the reason): Available children: stem, res2, res3; --no-rehearsal shows where.",
    "depth unknown": "the model cannot be made with MODEL.RESNETS.DEPTH 20: KeyError: 20; the default is 50.",
    "normalization unknown": "the model cannot be made with MODEL.RESNETS.NORM 'XN': KeyError: 'XN'; the default is 'FrozenBN'.",
    "anchor sizes of two levels": "the model cannot be made with MODEL.ANCHOR_GENERATOR.SIZES [[8], [16]]: Got sizes of length 2 in anchor generator, but the number of input features is 5; the default is [[32, 64, 128, 256, 512]].",
    "anchor ratios of two levels": "the model cannot be made with MODEL.ANCHOR_GENERATOR.ASPECT_RATIOS [[1.0], [2.0]]: Got aspect_ratios of length 2 in anchor generator, but the number of input features is 5; the default is [[0.5, 1.0, 2.0]].",
    "anchor generator unknown": "MODEL.ANCHOR_GENERATOR.NAME must name one of {ANCHOR_GENERATOR.NAME}; got 'Default'.",
    "matcher without a label": "the model cannot be made with MODEL.RETINANET.IOU_LABELS [0, 1]: AssertionError; the default is [0, -1, 1].",
    "classes of other data": "The model has 3 classes and the data set 'mine' has 2: set MODEL.RETINANET.NUM_CLASSES to 2.",
    "weights to start from missing": "MODEL.WEIGHTS: the file none.pth does not exist.",
    "proposals unknown": "MODEL.PROPOSAL_GENERATOR.NAME must name one of {PROPOSAL_GENERATOR.NAME}; got 'RPNN' (did you mean RPN?).",
    "proposals without the feature": "the model cannot be made with MODEL.RPN.IN_FEATURES ['p2', 'p9']: KeyError: 'p9'; the backbone gives p2, p3, p4, p5, p6.",
    "heads unknown": "MODEL.ROI_HEADS.NAME must name one of {ROI_HEADS.NAME}; got 'ROIHeads' (did you mean RROIHeads?).",
    "heads without the feature": "the model cannot be made with MODEL.ROI_HEADS.IN_FEATURES ['p9']: KeyError: 'p9'; the backbone gives p2, p3, p4, p5, p6.",
    "heads of other data": "The model has 7 classes and the data set 'mine' has 2: set MODEL.ROI_HEADS.NUM_CLASSES to 2.",
    "SSD without the feature": "there is no feature map 'conv4_4', which MODEL.SSD.IN_FEATURES or MODEL.FSSD.FUSED_FEATURES names; there are conv4_3, conv5_3, fc7, conv6_2, conv7_2, conv8_2.",
    "SSD on another backbone": "the model cannot be made with MODEL.SSD.IN_FEATURES ('conv4_3', 'fc7', 'conv6_2', 'conv7_2', 'conv8_2'): KeyError: 'conv4_3'; the backbone gives res4.",
    "SSD of fewer maps than anchors": "MODEL.SSD.MIN_SIZES has 5 entries, but there are 2 feature maps.",
    "FSSD without the feature": "MODEL.SSD.IN_FEATURES must name maps of FSSD's pyramid, p0, p1, p2, p3, p4; got p0, p9.",
    "DSSD without the feature": "MODEL.SSD.IN_FEATURES must name maps of res3, res5, res6, res7, res8, d3, d5, d6, d7; got d3, d9.",
    "RefineDet without the feature": "there is no feature map 'p9', which MODEL.SSD.IN_FEATURES or MODEL.FSSD.FUSED_FEATURES names; there are conv4_3, conv5_3, fc7.",
    "RefineDet of other data": "The model has 4 classes and the data set 'mine' has 2: set MODEL.SSD.NUM_CLASSES to 2.",
    "lazy not Python": "config.py, line 1, is not valid Python: invalid syntax.",
    "lazy without parts": "config.py does not define model, which train_net.py needs.",
    "lazy with an unknown key": "train.sed is not supported by train_net.py, which knows output_dir, init_checkpoint, max_iter, amp, ddp, checkpointer, eval_period, log_period, device, seed, cudnn_benchmark, best_metric, best_mode, patience, tiles.",
    "results missing": "The results file none.json does not exist.",
    "annotations missing": "The annotation file none.json does not exist.",
    "annotations are results": "The annotation file results.json is not COCO JSON: it must be an object with the lists 'images', 'annotations' and 'categories', not a list.",
    "results not JSON": "The results file results.json is not JSON: Expecting value: line 1 column 2 (char 1).",
    "results an object": "results.json: must be a list of {image_id, category_id, bbox, score} (COCO results).",
    "result a number": "results.json: result 0 has no field 'image_id'.",
    "result without a score": "results.json: result 0 has no field 'score'.",
    "score a text": "results.json: a score is not a number.",
    "score nan": "results.json: result 0 has the score nan; it must be finite.",
    "box of three": "results.json: result 0 has the bbox [1, 2, 3]; four numbers x, y, width, height are needed.",
    "box of negative width": "results.json: result 0 has the bbox [1.0, 2.0, -3.0, 4.0]; x, y, width, height must be finite, width and height not negative.",
    "image unknown": "results.json: result 0 has image_id 77, which is not among the 2 images of the annotations.",
    "category unknown": "results.json: result 0 has category_id 77, which is not among the 2 categories of the annotations.",
    "IoU of two": "IoU threshold 2.0: must lie in (0, 1].",
    "areas not rising": "area limits (9.0, 4.0): must be positive and ascending, such as 1024 9216.",
    "input size without area": "--input-size and --input-fixed: need --area input.",
    "recall into a file": "--output good.yaml: is a file; a folder is needed.",
    "baseline missing": "none: there is no such run folder or results file.",
    "run without results": "run: has no inference/coco_instances_results.json; the run is not evaluated yet, or its data set needs TEST.RECALL.ENABLED True (PASCAL VOC).",
    "export of nothing": "the run none does not exist or is no folder.",
    "export of an empty run": "the run run has no config.yaml, which train_net.py writes.",
    "no weights": "there is no model_final.pth; give the weights with --weights FILE.",
    "weights missing": "the weights none.pth do not exist.",
    "weights empty": "the weights empty.pth cannot be read as a checkpoint (it ends too early).",
    "weights a text": "the weights text.pth cannot be read as a checkpoint (no file of torch.save).",
    "weights truncated": "the weights cut.pth cannot be read as a checkpoint (PytorchStreamReader failed reading zip archive: failed finding central directory).",
    "weights with code": "the weights code.pth are a Python pickle that holds print, which could run code when loaded; only tensors and plain values are accepted.",
    "weights a pickle with code": "the weights code.pkl are a Python pickle that holds builtins.print, which could run code when loaded; only arrays are accepted in a .pkl.",
    "weights of another model": "the weights other.pth do not fit the model of the config: they lack 183 of its parameters, for example backbone.bottom_up.res2.0.conv1.norm.bias, backbone.bottom_up.res2.0.conv1.norm.weight, backbone.bottom_up.res2.0.conv1.weight.",
    "arrays of another model": "the weights other.pkl do not fit the model of the config: they lack 183 of its parameters, for example backbone.bottom_up.res2.0.conv1.norm.bias, backbone.bottom_up.res2.0.conv1.norm.weight, backbone.bottom_up.res2.0.conv1.weight.",
    "image missing": "the weights none.pth do not exist.",
    "pattern without images": "no file matches the pattern none*.png.",
    "threshold of two": "--score-threshold must be from 0 to 1; got 2.0.",
    "predict into a file": "--output good.yaml is a file; it must be a folder.",
}


def _with_known_names(message: str) -> str:
    """Name the classes that this Detectron2 knows for a key in braces."""
    for key, registry in CLASS_KEYS.items():
        message = message.replace(f"{{{key}}}", ", ".join(sorted(name for name, _ in registry)))
    return message


def test_the_corpus_is_whole() -> None:
    assert len(CASES) >= 40
    assert list(CASES) == list(MESSAGES)


@pytest.mark.parametrize("name", MESSAGES)
def test_one_sentence_and_nothing_written(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_good_inputs()
    command = CASES[name]()
    before = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    capsys.readouterr()
    status = train(command[1:]) if command[0] == "train_net.py" else main(command)
    assert status == 1
    assert capsys.readouterr().err.strip() == _with_known_names(MESSAGES[name])
    assert {path: path.stat().st_mtime_ns for path in Path().rglob("*")} == before
