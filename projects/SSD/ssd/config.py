"""``MODEL.SSD.*`` and ``INPUT.SSD_AUGMENTATIONS``."""

from detectron2.config import CfgNode

__all__ = ["add_ssd_config"]


def add_ssd_config(cfg: CfgNode) -> None:
    """Add the keys of the SSD family to a Detectron2 config, in place; defaults are SSD300 on VOC.

    Args:
        cfg: a config; adding the keys twice changes nothing.
    """
    if "SSD" in cfg.MODEL:
        return
    node = CfgNode()
    node.NUM_CLASSES = 20
    # Side of the square input, pixels. Sizes and steps below belong to it.
    node.IMAGE_SIZE = 300
    # Feature maps of the backbone, one per anchor level.
    node.IN_FEATURES = ("conv4_3", "fc7", "conv6_2", "conv7_2", "conv8_2", "conv9_2")

    # Pairs of layers after fc7: channels of the 1x1 convolution, then channels, kernel, stride and
    # padding of the next.
    node.EXTRA_LAYERS = (
        (256, 512, 3, 2, 1),
        (128, 256, 3, 2, 1),
        (128, 256, 3, 1, 0),
        (128, 256, 3, 1, 0),
    )
    # Initial scale of the L2 norm on conv4_3.
    node.L2_NORM_SCALE = 20.0
    # Factor on all numbers of channels of the backbone; below 1 for toys.
    node.VGG_WIDTH = 1.0
    # Normalisation after each convolution of VGG16, "BN" or "LN" for example, for training from
    # scratch; SSD has none.
    node.VGG_NORM = ""

    # Per level: sides of the squares in pixels (MAX_SIZES may be empty), width / height of the
    # other anchors, distance of the cells, and centre of the first one (empty: half a step).
    node.MIN_SIZES = (30, 60, 111, 162, 213, 264)
    node.MAX_SIZES = (60, 111, 162, 213, 264, 315)
    node.ASPECT_RATIOS = ((2,), (2, 3), (2, 3), (2, 3), (2,), (2,))
    node.STEPS = (8, 16, 32, 64, 100, 300)
    node.STARTS = ()

    # Caffe's variances 0.1, 0.1, 0.2, 0.2.
    node.BBOX_REG_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
    node.SMOOTH_L1_BETA = 1.0
    # Mined negatives per positive.
    node.NEG_POS_RATIO = 3.0

    # Detections of each class with a higher score, the best of them, and the overlap above which
    # one of two goes. TEST.DETECTIONS_PER_IMAGE of all classes are kept.
    node.SCORE_THRESH_TEST = 0.01
    node.TOPK_CANDIDATES_TEST = 400
    node.NMS_THRESH_TEST = 0.45
    cfg.MODEL.SSD = node

    # Steps of the training augmentation before the resize to the square, of "distort", "expand"
    # and "crop". INPUT.RANDOM_FLIP follows them.
    cfg.INPUT.SSD_AUGMENTATIONS = ("distort", "expand", "crop")
