"""``python -m scb_d2``: the same as the console script ``scb-d2``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
