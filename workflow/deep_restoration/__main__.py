"""python -m deep_restoration: the same as the command deep-restoration."""

import sys

from .interface.shell import main

if __name__ == "__main__":
    sys.exit(main())
