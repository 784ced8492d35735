"""What needs Detectron2's compiled operators, which its Python-only builds lack."""

from detectron2.config import CfgNode

from scb_d2.errors import ConfigError

__all__ = ["ROTATED", "check_operators", "check_rotated", "has_compiled_operators"]

ROTATED = {"MODEL.PROPOSAL_GENERATOR.NAME": "RRPN", "MODEL.ROI_HEADS.NAME": "RROIHeads"}
"""Config key -> its value for rotated boxes."""

_BUILD = "build it from source (make env DETECTRON2=git)"


def has_compiled_operators() -> bool:
    """Whether the installed Detectron2 has them."""
    try:
        from detectron2 import _C  # noqa: F401
    except ImportError:
        return False
    return True


def check_rotated(what: str) -> None:
    """Refuse rotated boxes where the operators are missing.

    Args:
        what: needs them, start of the sentence.

    Raises:
        ConfigError: if they are missing.
    """
    if not has_compiled_operators():
        raise ConfigError(
            f"{what} needs rotated boxes, but the installed Detectron2 lacks its compiled "
            f"operators: {_BUILD}."
        )


def check_operators(cfg: CfgNode) -> None:
    """Refuse a config that Detectron2 could only fail on, building the model or in its first step.

    Raises:
        ConfigError: if operators that the config asks for are missing.
    """
    model = cfg.MODEL
    names = {
        "MODEL.PROPOSAL_GENERATOR.NAME": model.PROPOSAL_GENERATOR.NAME,
        "MODEL.ROI_HEADS.NAME": model.ROI_HEADS.NAME,
    }
    for key, name in names.items():
        if name.removeprefix("ScaleBalanced") == ROTATED[key]:
            check_rotated(f"{key} {name!r}")
    deformable = any(model.RESNETS.DEFORM_ON_PER_STAGE) and "resnet" in model.BACKBONE.NAME
    if deformable and not has_compiled_operators():
        raise ConfigError(
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for deformable convolution, but the installed "
            f"Detectron2 lacks its compiled operators: {_BUILD}, or set DEFORM_ON_PER_STAGE to "
            "[False, False, False, False]."
        )
