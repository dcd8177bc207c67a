"""`python -m fastnn` is `fastnn`."""

from __future__ import annotations

import sys

from fastnn.cli import main

sys.exit(main())
