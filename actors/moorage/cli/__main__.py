"""`python -m moorage.cli`, which `bin/moorage` runs."""

from __future__ import annotations

import sys

from moorage.cli.main import main

sys.exit(main())
