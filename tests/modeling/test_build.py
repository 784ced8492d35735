import pytest
from detectron2.modeling import META_ARCH_REGISTRY, GeneralizedRCNN
from detectron2.modeling.proposal_generator import PROPOSAL_GENERATOR_REGISTRY
from detectron2.modeling.roi_heads import ROI_HEADS_REGISTRY

from scb_d2 import (
    ConfigError,
    ScaleBalancedRPN,
    ScaleBalancedStandardROIHeads,
    api,
    build_model,
    modeling,
)
from scb_d2.modeling import scale_balanced_config
from scb_d2.modeling.compiled_operators import has_compiled_operators
from scb_d2.modeling.stock_classes import is_twin, stock_class, twins

from .detectors import retinanet_config
from .rcnn import CASCADE, KINDS, STANDARD, rcnn_config


def test_unsupported_architecture():
    cfg = retinanet_config("MODEL.META_ARCHITECTURE", "SemanticSegmentor")
    with pytest.raises(ConfigError) as error:
        build_model(cfg)
    message = str(error.value)
    assert "'SemanticSegmentor'" in message and "RetinaNet" in message
    assert "supports" in message and "\n" not in message


def test_only_a_stage_that_is_not_there():
    with pytest.raises(ConfigError) as error:
        build_model(retinanet_config("MODEL.SCB.STAGES", "second"))
    message = str(error.value)
    assert message.startswith("MODEL.SCB.STAGES is ('second',)") and "first" in message


def test_missing_stage_beside_one_that_is_there(caplog):
    cfg = scale_balanced_config(retinanet_config("MODEL.SCB.STAGES", ("first", "second")))
    assert cfg.MODEL.META_ARCHITECTURE == "ScaleBalancedRetinaNet"
    assert "second" in caplog.text


def test_bad_value_set_as_attribute():
    cfg = retinanet_config()
    cfg.MODEL.SCB.FORM = "log"
    with pytest.raises(ConfigError, match=r"MODEL\.SCB\.FORM must be one of"):
        build_model(cfg)


def test_frozen_config_builds():
    cfg = retinanet_config()
    cfg.freeze()
    build_model(cfg)
    assert cfg.MODEL.META_ARCHITECTURE == "RetinaNet"


def names_of(cfg):
    model = cfg.MODEL
    return model.META_ARCHITECTURE, model.PROPOSAL_GENERATOR.NAME, model.ROI_HEADS.NAME


@pytest.mark.parametrize("architecture", ["GeneralizedRCNN", "PanopticFPN", "ProposalNetwork"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_chosen_stages_are_swapped(architecture, kind):
    cfg = rcnn_config(kind, "MODEL.META_ARCHITECTURE", architecture)
    first = names_of(scale_balanced_config(cfg))
    assert first == (architecture, "ScaleBalancedRPN", kind)
    cfg.MODEL.SCB.STAGES = ("first", "second")
    heads = kind if architecture == "ProposalNetwork" else f"ScaleBalanced{kind}"
    assert names_of(scale_balanced_config(cfg)) == (architecture, "ScaleBalancedRPN", heads)
    assert names_of(cfg) == (architecture, "RPN", kind)


def test_second_stage_alone():
    cfg = rcnn_config(CASCADE, "MODEL.SCB.STAGES", ("second",))
    expected = ("GeneralizedRCNN", "RPN", "ScaleBalancedCascadeROIHeads")
    assert names_of(scale_balanced_config(cfg)) == expected
    cfg.MODEL.META_ARCHITECTURE = "ProposalNetwork"
    with pytest.raises(ConfigError, match=r"'ProposalNetwork'.* only has first"):
        build_model(cfg)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.PROPOSAL_GENERATOR.NAME", "PrecomputedProposals"], "only has second"),
        (["MODEL.META_ARCHITECTURE", "FCOS"], "does not support .*'FCOS'; it supports .*RetinaNet"),
    ],
)
def test_unsupported_rcnn(opts, message):
    with pytest.raises(ConfigError, match=message) as error:
        build_model(rcnn_config(STANDARD, *opts))
    assert "\n" not in str(error.value)


ROTATED = ["MODEL.PROPOSAL_GENERATOR.NAME", "RRPN", "MODEL.ROI_HEADS.NAME", "RROIHeads"]


@pytest.mark.skipif(has_compiled_operators(), reason="Detectron2 has its compiled operators")
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("opts", [ROTATED, ROTATED[2:]])
def test_rotated_boxes_need_compiled_operators(opts, enabled):
    with pytest.raises(ConfigError) as error:
        build_model(rcnn_config(STANDARD, *opts, enabled=enabled))
    assert str(error.value) == (
        f"{opts[0]} {opts[1]!r} needs rotated boxes, but the installed Detectron2 lacks its "
        "compiled operators: build it from source (make env DETECTRON2=git)."
    )


def test_every_twin_is_registered_public_and_documented(repo_root):
    """One list, that of scb_d2.modeling: builder, export and API follow it."""
    ours = {name: getattr(modeling, name) for name in modeling.__all__}
    ours = {name: known for name, known in ours.items() if is_twin(known)}
    shown = (repo_root / "docs" / "detectors.md").read_text()
    registered = {}
    for registry in (META_ARCH_REGISTRY, PROPOSAL_GENERATOR_REGISTRY, ROI_HEADS_REGISTRY):
        registered |= twins(registry)
    assert set(registered.values()) <= set(ours) <= set(api.__all__)
    for name, known in ours.items():
        stock = stock_class(known)
        assert name == f"ScaleBalanced{stock.__name__}"
        assert getattr(api, name) is known
        assert stock.__module__.startswith("detectron2.modeling.")
        if name in registered.values():
            assert f"`{stock.__name__}`" in shown


def test_a_users_own_class_declares_its_stages():
    @ROI_HEADS_REGISTRY.register()
    class MyOwnROIHeads(ScaleBalancedStandardROIHeads):
        pass

    @META_ARCH_REGISTRY.register()
    class MyOwnRCNN(GeneralizedRCNN):
        pass

    opts = ["MODEL.META_ARCHITECTURE", "MyOwnRCNN", "MODEL.SCB.STAGES", ("first", "second")]
    try:
        model = build_model(rcnn_config("MyOwnROIHeads", *opts))
    finally:
        ROI_HEADS_REGISTRY._obj_map.pop("MyOwnROIHeads")
        META_ARCH_REGISTRY._obj_map.pop("MyOwnRCNN")
    assert type(model) is MyOwnRCNN and type(model.roi_heads) is MyOwnROIHeads
    assert type(model.proposal_generator) is ScaleBalancedRPN
    assert model.roi_heads.object_weight is not None


def test_our_class_by_name_without_the_loss_is_stock():
    cfg = rcnn_config("ScaleBalancedCascadeROIHeads", enabled=False)
    cfg.MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG = True
    assert build_model(cfg).roi_heads.object_weight is None
