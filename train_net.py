#!/usr/bin/env python
"""Train or evaluate a detector; ``--help`` lists Detectron2's own flags."""

import sys

from scb_d2.engine.flags import train_net_parser
from scb_d2.utils.needless_warnings import hide_needless_warnings

if __name__ in ("__main__", "__mp_main__"):  # the second in the processes of several GPUs
    hide_needless_warnings()

if __name__ == "__main__":
    args = train_net_parser().parse_args()
    from scb_d2.engine.main import run  # seconds of imports, only behind right flags

    sys.exit(run(args))
