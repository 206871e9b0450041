"""`python -m netpunch` is `netpunch`."""

from __future__ import annotations

import sys

from netpunch.cli import main

if __name__ == "__main__":
    sys.exit(main())
