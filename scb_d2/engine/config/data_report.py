"""What the data sets of a config file hold, YAML or LazyConfig."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from omegaconf import DictConfig

from scb_d2.data.checks.datasets import (
    HEADERS_AT_START,
    check_agreement,
    check_datasets,
    dataset_reports,
    raise_errors,
)
from scb_d2.data.checks.pixels import pixel_findings
from scb_d2.data.checks.report import DatasetReport
from scb_d2.data.reader.catalog import reading_once
from scb_d2.errors import DataError
from scb_d2.evaluation.build import check_evaluators

from .lazy import load_lazy_config
from .lazy_data import check_lazy_agreement, lazy_dataset_reports
from .load import find_config_file, load_config

__all__ = ["check_config_data", "check_run_data"]


def check_run_data(cfg: CfgNode | DictConfig, *, train: bool) -> None:
    """Check the data sets of a run, as every start does, with the headers of some images.

    Args:
        cfg: YAML config or LazyConfig.
        train: whether the run trains on them too.

    Raises:
        UserError: the first error in them, or what does not fit.
    """
    if isinstance(cfg, CfgNode):
        check_datasets(cfg, train=train)
        check_evaluators(cfg.DATASETS.TEST)
    else:
        reports = lazy_dataset_reports(cfg, train=train, headers=HEADERS_AT_START)
        raise_errors(reports)
        check_lazy_agreement(cfg, reports)


def check_config_data(
    config_file: str,
    opts: Sequence[str] = (),
    headers: int | None = None,
    *,
    decode: bool = False,
) -> tuple[list[DatasetReport], str | None]:
    """Check every data set that a config trains or evaluates on.

    Args:
        config_file: YAML or LazyConfig, a path or a name of Detectron2's model zoo.
        opts: overrides of its keys.
        headers: of how many image files of a data set the header is read; None: of all.
        decode: whether the pixels of all images are read too.

    Returns:
        A report per data set, and a sentence where they do not fit each other or the model.

    Raises:
        UserError: if the config is wrong or names a data set that is not registered.
    """
    path = find_config_file(config_file)
    if path.endswith(".py"):
        cfg = load_lazy_config(path, list(opts))
        report_on, check = lazy_dataset_reports, check_lazy_agreement
    else:
        cfg = load_config(path, opts)
        report_on, check = dataset_reports, check_agreement
    with reading_once():
        reports = report_on(cfg, headers=headers)
        for report in reports if decode else ():
            report.findings.extend(pixel_findings(report.name))
    try:
        # A file that cannot be read has no classes to compare; its own error is reported.
        check(cfg, [report for report in reports if not report.lacks_classes])
    except DataError as error:
        return reports, str(error)
    return reports, None
