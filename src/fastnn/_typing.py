"""The types that public signatures name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fastnn._core import Tensor, Variable

ArrayLike: TypeAlias = Tensor | Variable | npt.ArrayLike
DTypeLike: TypeAlias = str | np.dtype[Any] | type
ShapeLike: TypeAlias = int | Sequence[int | None]
