"""The functions of neural networks on arrays: eager, on a tape, or recorded.

Every function takes NumPy arrays, lists, numbers, Tensors and Variables and returns a Tensor that NumPy reads without
a copy. Nothing here needs a model. Inside a :class:`fastnn.GradientTape` each call is recorded and can be
differentiated; on placeholders it is recorded instead of run.
"""

from types import FunctionType as _FunctionType

from fastnn._core import Tensor as _Tensor
from fastnn._core import Variable as _Variable
from fastnn.ops._deferred import deferrable as _deferrable
from fastnn.ops._operators import attach_operators as _attach_operators
from fastnn.ops._vjp import vjp as vjp
from fastnn.ops.comparison import *
from fastnn.ops.conv import *
from fastnn.ops.dense import *
from fastnn.ops.elementwise import *
from fastnn.ops.indexing import *
from fastnn.ops.loss import *
from fastnn.ops.norm import *
from fastnn.ops.optimizer import *
from fastnn.ops.pool import *
from fastnn.ops.random import *
from fastnn.ops.reduce import *
from fastnn.ops.shape import *
from fastnn.ops.softmax import *

_attach_operators(_Tensor)
_attach_operators(_Variable)
for _name, _value in list(globals().items()):
    if isinstance(_value, _FunctionType) and not _name.startswith("_"):
        globals()[_name] = _deferrable(_value)
