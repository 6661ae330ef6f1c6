"""``python -m nnfast`` is ``nnfast``."""

from __future__ import annotations

import sys

from nnfast.cli import main

if __name__ == "__main__":
    sys.exit(main())
