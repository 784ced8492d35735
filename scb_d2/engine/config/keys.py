"""Config keys of the engine."""

from detectron2.config import CfgNode

__all__ = ["add_engine_config"]


def add_engine_config(cfg: CfgNode) -> None:
    """Add the engine's keys to a Detectron2 config, in place."""
    # Metric whose best value decides which weights are kept as `model_best.pth`, under the name it
    # has in metrics.json: "bbox/AP", "bbox/APs"; with several DATASETS.TEST "<dataset>/bbox/AP".
    # "" keeps none.
    cfg.TEST.BEST_METRIC = ""
    # "max" or "min": which value of BEST_METRIC is the best.
    cfg.TEST.BEST_MODE = "max"
    # End training after this many evaluations in a row without a new best value; 0 never does.
    cfg.TEST.PATIENCE = 0
