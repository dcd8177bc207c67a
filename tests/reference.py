"""A float64 NumPy twin of every op, written to be read: no cleverness, no shared code with fastnn."""

from __future__ import annotations

import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])

negative, abs, sign, square, sqrt = np.negative, np.abs, np.sign, np.square, np.sqrt
exp, expm1, log, log1p, tanh = np.exp, np.expm1, np.log, np.log1p, np.tanh
add, subtract, multiply, divide = np.add, np.subtract, np.multiply, np.divide
power, maximum, minimum = np.power, np.maximum, np.minimum


def sigmoid(x):
    return np.where(x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))))


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def relu(x):
    return np.maximum(x, 0)


def leaky_relu(x, negative_slope):
    return np.where(x < 0, negative_slope * x, x)


def elu(x, alpha):
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def selu(x):
    return 1.0507009873554805 * elu(x, 1.6732632423543772)


def gelu(x):
    return x * 0.5 * (1 + erf(x / np.sqrt(2)))


def silu(x):
    return x * sigmoid(x)


def mish(x):
    return x * np.tanh(softplus(x))


def softsign(x):
    return x / (1 + np.abs(x))


def hard_sigmoid(x):
    return np.clip(x + 3, 0, 6) / 6


def clip(x, x_min, x_max):
    return np.clip(x, x_min, x_max)


def dense(x, kernel, bias=0.0):
    return x @ kernel + bias


def matmul(x1, x2, transpose_x1, transpose_x2):
    a = np.swapaxes(x1, -1, -2) if transpose_x1 else x1
    b = np.swapaxes(x2, -1, -2) if transpose_x2 else x2
    return a @ b


def reshape(x, newshape):
    return x.reshape(newshape)


def copy(x):
    return x.copy()


# ---- shape and indexing

# ---- reduce

# ---- conv

# ---- pool

# ---- norm

# ---- softmax

# ---- loss

# ---- random


def philox(counter, key):
    """Philox 4x32-10 of Salmon et al. (2011), on Python's integers."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, (p0 >> 32) ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def random_words(n, seed, stream, step):
    """Word i belongs to element i; four elements share a block."""
    words = []
    for block in range((n + 3) // 4):
        counter = (
            block & 0xFFFFFFFF,
            (block >> 32) | (stream << 8 & 0xFFFFFFFF),
            step & 0xFFFFFFFF,
            (step >> 32) | (stream & 0xFF000000),
        )
        words += philox(counter, (seed & 0xFFFFFFFF, seed >> 32))
    return np.array(words[:n], np.uint32)


def dropout(x, rate, seed, stream, step):
    words = random_words(x.size, seed, stream, step).reshape(x.shape)
    return np.where(words < round(rate * 2**32), 0, x / (1 - rate))
