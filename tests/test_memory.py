"""What was allocated is given back: nothing grows with the number of steps, of models, or of shapes met."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRELUDE = """
import ctypes
import gc

import numpy as np

import fastnn
from fastnn import layers, ops

FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()


class Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in FIELDS]


libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo


def allocated():
    gc.collect()
    info = libc.mallinfo2()
    return info.uordblks + info.hblkhd


rng = np.random.default_rng(0)
x = rng.standard_normal((256, 20)).astype("float32")
y = rng.integers(0, 3, 256)
"""

REPEAT = """
for _ in range({warm}):
    once()
before = allocated()
for _ in range({count}):
    once()
print((allocated() - before) / {count})
"""

EAGER_STEP = """
w1 = fastnn.Variable(0.1 * rng.standard_normal((20, 32)))
b1 = fastnn.Variable(np.zeros(32))
w2 = fastnn.Variable(0.1 * rng.standard_normal((32, 3)))
adam = fastnn.optimizers.Adam()
images = rng.standard_normal((256, 6, 6, 1))
kernel = fastnn.Variable(rng.standard_normal((3, 3, 1, 20)))
weights = [w1, b1, w2, kernel]


def once():
    rows = rng.integers(1, 257)
    with fastnn.GradientTape() as tape:
        h = ops.conv2d(images[:rows], kernel)
        h = ops.dropout(ops.global_max_pool2d(h), 0.2) + x[:rows].astype("float64")
        h = ops.layer_normalization(ops.relu(ops.dense(h, w1, b1)))
        loss = ops.sparse_categorical_crossentropy(y[:rows], h @ w2, from_logits=True)
    adam.apply(tape.gradient(loss, weights), weights)
"""

RECORDED_STEP = """
model = fastnn.Sequential([layers.Dense(8, "relu", input_shape=(20,)), layers.Dense(3, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")


def once():
    rows = rng.integers(1, 17)
    model.train_on_batch(x[:rows], y[:rows])
    model.predict(x[:rows], verbose=0)
"""

MODEL = """
def once():
    model = fastnn.Sequential(
        [
            layers.Dense(8, "relu", input_shape=(20,)),
            layers.BatchNormalization(),
            layers.Dropout(0.1),
            layers.Dense(3, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(x[:32], y[:32], batch_size=16, verbose=0)
    model.predict(x[:32], verbose=0)
"""

NUMPY_CODE = """
class Own(layers.Layer):
    @fastnn.custom_gradient
    def scale(self, x):
        return x * 2.0, lambda upstream: upstream

    def compute(self, x):
        return x * x

    def call(self, x):
        y = fastnn.py_function(
            self.compute, x, x.shape, x.dtype, gradient=lambda x, y, g: 2 * x * g
        )
        return self.scale(y)


model = fastnn.Sequential([layers.Dense(8, input_shape=(20,)), Own(), layers.Dense(3, "softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
w = fastnn.Variable(np.ones((16, 20), "float32"))


def once():
    model.train_on_batch(x[:16], y[:16])
    with fastnn.GradientTape() as tape:
        loss = model(w)
    tape.gradient(loss, w)
"""

ERROR = """
def once():
    for wrong in (lambda: ops.take(x, [999]), lambda: ops.dense(x, x), lambda: ops.pad(x, -1)):
        try:
            wrong()
        except (ValueError, IndexError, TypeError):
            pass
"""

LEAK = """
kept = []


def once():
    kept.append(fastnn.Tensor(1.0))
"""


# Sizes never met before: what is kept of how they are computed has a limit in bytes.
SIZES = """
kernel = np.ones((16, 16, 4), "float32")
images = iter(range(1, 100))


def once():
    ops.conv1d(np.ones((next(images), 4096, 16), "f4"), kernel, padding="causal", dilation_rate=256)
"""


def growth(body: str, warm: int, count: int) -> float:
    """Bytes per call of once() that are still allocated afterwards, Python's and C++'s together."""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + body + REPEAT.format(warm=warm, count=count)],
        # malloc for Python's objects too, so that one counter sees them all.
        env={
            **os.environ,
            "PYTHONMALLOC": "malloc",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


@pytest.mark.parametrize(
    ("body", "warm", "count", "bound"),
    [
        # Less than any object per call. Building a model may keep a word or two: tables that grow by doubling. The
        # allocator's own lists, which count as allocated, fill with tens of kB, however many the calls are.
        (EAGER_STEP, 500, 4000, 16),
        (RECORDED_STEP, 500, 4000, 16),
        (ERROR, 500, 2000, 16),
        # Tables of Python that fill up slowly: about 64 kB in all.
        (NUMPY_CODE, 4000, 4000, 16),
        (MODEL, 300, 300, 256),
        (SIZES, 2, 8, 65536),
    ],
    ids=["eager step", "recorded step", "error", "NumPy code", "model", "sizes"],
)
def test_nothing_is_kept(body, warm, count, bound):
    assert growth(body, warm, count) < bound


def test_the_measure_notices_one_scalar_kept_per_call():
    assert growth(LEAK, 500, 2000) > 100


SCARCE = """
import resource

import numpy as np

import fastnn
from fastnn import ops

fastnn.set_num_threads(1)
x, kernel = np.ones((24, 64, 64, 64)), np.ones((3, 3, 64, 256))
dy = np.ones((24, 64, 64, 256))
ops.conv2d_backward(dy, x, kernel, padding="same")  # takes 38 MB of working memory, part by part
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, resource.RLIM_INFINITY))
for _ in range(2):
    ops.matmul(np.ones((64, 64)), np.ones((64, 64)))
"""


def test_what_needs_little_runs_where_there_is_no_room_for_what_was_needed_before():
    done = subprocess.run(
        [sys.executable, "-c", SCARCE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


LARGE = """
import resource

import numpy as np

import fastnn
from fastnn import ops

x = fastnn.Tensor(np.ones(2**22, "float32"))  # 16 MB, 4096 pages or 8 huge ones
for _ in range(5):
    ops.relu(x)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    ops.relu(x)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)


def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()


before = resident()
held = [ops.relu(fastnn.Tensor(np.ones(2**22 + 2**14 * i, "float32"))) for i in range(20)]
assert resident() - before > 300e6
del held
print(resident() - before)
"""


def test_large_blocks_are_kept_for_the_next_results_but_not_many():
    done = subprocess.run(
        [sys.executable, "-c", LARGE], capture_output=True, text=True, check=True
    ).stdout.split()
    faults, kept = map(int, done)
    assert faults < 50  # fresh memory: at least 8 a call
    assert kept < 160e6  # 128 MB are kept


GIVEN_UP = """
import resource

import numpy as np

import fastnn
from fastnn import ops

held = [ops.relu(fastnn.Tensor(np.ones(2**22, "float32"))) for _ in range(6)]
del held  # 96 MB in six blocks
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**24, resource.RLIM_INFINITY))
print(ops.broadcast_to(1.0, (2**24,)).shape)
"""


def test_kept_blocks_are_given_up_where_memory_is_scarce():
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_UP], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
