"""Settings of the whole process."""

from __future__ import annotations

from fastnn import _core
from fastnn._core import floatx, set_floatx
from fastnn.recorded import run_eagerly

__all__ = ["conv_algorithm", "floatx", "run_eagerly", "set_floatx"]


def conv_algorithm(algorithm: str | None = None) -> str:
    """How convolutions are computed, from now on; returns what was in force before.

    Args:
        algorithm: `"auto"`, the default setting: Winograd's F(4x4, 3x3) where it is the faster one,
            that is in float32 for kernels of 3 x 3 without strides, dilation or groups, from 16
            channels, 16 filters and 4 x 4 outputs on, unless most of the tiles of 4 x 4 would lie
            outside the image; never by the batch or the threads.
            `"direct"`: sums in the order of the definition, exact for small integers.
            `"winograd"`: wherever it can be computed, in float64 too; convolutions with strides,
            dilation, groups or other kernels stay direct. `None` changes nothing.
    Raises: ValueError for another name.
    Notes: Winograd's errors are about twice to five times those of the direct sum: at most 8e-7
        (root mean square) of the output's size in float32. A NaN or infinity in a pixel may make
        NaN of any output in the tiles of 4 x 4 that read it. Recorded programs (`fit`,
        `fastnn.function`) are recorded anew after a change.
    Reference: Lavin & Gray, Fast algorithms for convolutional neural networks, arXiv:1509.09308.
    Example:
        >>> import fastnn
        >>> before = fastnn.config.conv_algorithm("direct")
        >>> fastnn.config.conv_algorithm(before)
        'direct'
    """
    before = _core.conv_algorithm()
    if algorithm is not None:
        _core.set_conv_algorithm(algorithm)
    return before
