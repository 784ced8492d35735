#!/usr/bin/env python
"""Train or evaluate a detector; ``--help`` lists Detectron2's own flags."""

import sys

from scb_d2.engine.main import main

if __name__ == "__main__":
    sys.exit(main())
