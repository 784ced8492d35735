"""Checks of the data sets against each other and against the model, before anything is trained."""

import difflib
import logging
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from scb_d2.data.reader.catalog import (
    READ_KINDS,
    read_dataset,
    training_dicts,
)
from scb_d2.data.reader.tally import Finding
from scb_d2.data.registration import register_datasets
from scb_d2.errors import DataError

from .annotations import annotation_findings
from .classes import check_reported_classes, check_same_classes, num_classes_key
from .extras import check_extras, check_keypoints
from .images import image_findings, missing_findings
from .needs import Needs, needs_of
from .report import DatasetReport, missing_builtin

__all__ = [
    "HEADERS_AT_START",
    "check_agreement",
    "check_dataset",
    "check_datasets",
    "check_each",
    "check_name",
    "dataset_reports",
    "raise_errors",
]

logger = logging.getLogger(__name__)

_MAX_SUGGESTIONS = 3

# More would delay every start on a network disk; `scb-d2 check` reads all.
HEADERS_AT_START = 1000


def check_datasets(cfg: CfgNode, *, train: bool = True, test: bool = True) -> list[DatasetReport]:
    """Register and check the data sets of a config; warnings are logged, the first error raised.

    Generates the shapes where they are asked for and not there yet. Reads every annotation file
    once, so call it once per run, before worker processes are launched.

    Args:
        cfg: config with the keys of :func:`scb_d2.config.add_scb_config`.
        train: whether ``DATASETS.TRAIN`` will be used; False for ``--eval-only``.
        test: whether ``DATASETS.TEST`` will be used.

    Returns:
        A report per data set.

    Raises:
        DataError: if a data set is unknown or wrong, if the data sets disagree in their classes,
            or if the model has another number of classes.
        ConfigError: if a key that describes a data set is malformed.
    """
    reports = dataset_reports(cfg, train=train, test=test, headers=HEADERS_AT_START)
    raise_errors(reports)
    check_agreement(cfg, reports)
    return reports


def dataset_reports(
    cfg: CfgNode, *, train: bool = True, test: bool = True, headers: int | None = None
) -> list[DatasetReport]:
    """Register and check each data set of a config; what is wrong in them is reported, not raised.

    Args:
        cfg: as for :func:`check_datasets`.
        train: whether ``DATASETS.TRAIN`` will be used.
        test: whether ``DATASETS.TEST`` will be used.
        headers: of how many image files the header is read, see :func:`check_dataset`.

    Raises:
        DataError: if a data set is unknown, or there is none to train on.
        ConfigError: if a key that describes a data set is malformed.
    """
    register_datasets(cfg)
    train_names = list(cfg.DATASETS.TRAIN) if train else []
    test_names = list(cfg.DATASETS.TEST) if test else []
    for key, names in (("DATASETS.TRAIN", train_names), ("DATASETS.TEST", test_names)):
        for name in names:
            check_name(name, key)
    if train and not train_names:
        raise DataError(
            "DATASETS.TRAIN names no data set to train on; 'shapes_train' is there without any "
            "download."
        )
    check_keypoints(cfg, train_names)
    return check_each(train_names, test_names, headers, needs_of(cfg))


def check_each(
    train_names: list[str], test_names: list[str], headers: int | None, needs: Needs
) -> list[DatasetReport]:
    """:func:`check_dataset` of registered data sets, once where one serves for both.

    Args:
        train_names: what is trained on.
        test_names: what is evaluated on.
        headers: see there.
        needs: see there.
    """
    return [
        check_dataset(
            name,
            training=name in train_names,
            evaluation=name in test_names,
            headers=headers,
            needs=needs,
        )
        for name in dict.fromkeys(train_names + test_names)
    ]


def raise_errors(reports: Sequence[DatasetReport]) -> None:
    """Log the warnings of each report and raise the first error.

    Raises:
        DataError: with the error's message.
    """
    for report in reports:
        report.raise_first_error()
        for finding in report.findings:
            if finding.severity == "warning":
                logger.warning(finding.message)


def check_agreement(cfg: CfgNode, reports: Sequence[DatasetReport]) -> None:
    """Check that the data sets have the same classes, and the model as many.

    Raises:
        DataError: naming the data sets, or the key of the number of classes.
    """
    check_extras(cfg)
    check_same_classes(reports)
    key = num_classes_key(cfg)
    if key is not None:
        count = cfg
        for part in key.split("."):
            count = count[part]
        check_reported_classes(count, reports, key)


def check_name(name: str, key: str, how: str = "with DATASETS.REGISTER") -> None:
    """Check that a data set name is registered.

    Args:
        name: the name.
        key: where it was given, for the message.
        how: a user registers data sets there, for the message.

    Raises:
        DataError: if it is not; with the names that are close.
    """
    if name in DatasetCatalog:
        return
    known = [str(known) for known in DatasetCatalog.list()]
    close = difflib.get_close_matches(str(name), known, n=_MAX_SUGGESTIONS)
    hint = f"did you mean {' or '.join(map(repr, close))}" if close else "no known name is close"
    raise DataError(
        f"{key} names the data set {name!r}, which is not registered ({hint}; register your own "
        f"{how})."
    )


def check_dataset(
    name: str,
    *,
    training: bool = True,
    evaluation: bool = True,
    headers: int | None = 0,
    needs: Needs | None = None,
) -> DatasetReport:
    """Check one registered data set, whatever registered it; nothing is raised.

    Of data sets whose evaluation has files of its own (LVIS, Cityscapes) only the image files are
    looked for.

    Args:
        name: a registered name.
        training: whether it is to be trained on.
        evaluation: whether it is to be evaluated on.
        headers: of how many image files, evenly spread, the header is read; None: of all. That
            the files exist is checked of all in any case.
        needs: what the model asks of it; boxes only by default.
    """
    meta = MetadataCatalog.get(name)
    expected = meta.get("thing_classes")
    missing = missing_builtin(name)
    if missing is not None:
        return missing
    if meta.get("evaluator_type", "coco") not in READ_KINDS:
        return _report_of_others(name)
    needs = needs or Needs()
    try:
        records = read_dataset(name)
    except DataError as error:
        return DatasetReport(name, findings=[Finding("error", "unreadable", str(error))])
    findings = []
    classes = records.class_names
    if expected is not None and classes != list(expected):
        message = (
            f"{records.subject} has other categories than the data set {name!r} must have: "
            f"{_first_difference(classes, expected)}."
        )
        findings.append(Finding("error", "other-categories", message))
    root = records.image_root
    if root is not None and not os.path.isdir(root):
        message = f"The image folder {root} of the data set {name!r} does not exist."
        findings.append(Finding("error", "missing-folder", message))
    findings += image_findings(records, needs, headers)
    findings += records.tally.findings()
    findings += annotation_findings(records, needs, training=training, evaluation=evaluation)
    return DatasetReport(name, classes, len(records.images), records.num_annotations, findings)


def _report_of_others(name: str) -> DatasetReport:
    """What is said about dicts that are passed on as they are."""
    classes = MetadataCatalog.get(name).get("thing_classes")
    try:
        dicts = training_dicts(name)
    except DataError as error:
        return DatasetReport(name, classes, findings=[Finding("error", "unreadable", str(error))])
    if not isinstance(dicts, list):
        return DatasetReport(name, classes)
    count = sum(len(d.get("annotations", ())) for d in dicts)
    missing = missing_findings(f"The data set {name!r}", dicts)
    return DatasetReport(name, classes, len(dicts), count, missing)


def _first_difference(found: Sequence[str], expected: Sequence[str]) -> str:
    if len(found) != len(expected):
        return f"{len(found)} instead of {len(expected)}"
    index = next(i for i, pair in enumerate(zip(found, expected, strict=True)) if len({*pair}) > 1)
    return f"number {index + 1} is {found[index]!r} instead of {expected[index]!r}"
