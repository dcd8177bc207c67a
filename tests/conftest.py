"""The tests import their helpers (cases, reference, numerics) from this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def direct():
    """Convolutions by the definition: exact for integers, which Winograd's are not."""
    from fastnn import config

    before = config.conv_algorithm("direct")
    yield
    config.conv_algorithm(before)
