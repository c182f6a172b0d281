"""`python -m moorage.demo`, which `bin/demo` runs."""

from __future__ import annotations

import sys

from moorage.demo import main

if __name__ == "__main__":
    sys.exit(main())
