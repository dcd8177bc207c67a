"""A float64 NumPy twin of every op, written to be read: no cleverness, no shared code with fastnn."""

from __future__ import annotations

import builtins
import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])

negative, abs, sign, square, sqrt = np.negative, np.abs, np.sign, np.square, np.sqrt
exp, expm1, log, log1p, tanh = np.exp, np.expm1, np.log, np.log1p, np.tanh
add, subtract, multiply, divide = np.add, np.subtract, np.multiply, np.divide
power, maximum, minimum = np.power, np.maximum, np.minimum


def sigmoid(x):
    return np.where(
        x >= 0, 1 / (1 + np.exp(-np.abs(x))), np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x)))
    )


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
transpose, swapaxes, moveaxis, expand_dims, squeeze = (
    np.transpose,
    np.swapaxes,
    np.moveaxis,
    np.expand_dims,
    np.squeeze,
)
broadcast_to, concatenate, stack, split = np.broadcast_to, np.concatenate, np.stack, np.split
flip, repeat, take, take_along_axis = np.flip, np.repeat, np.take, np.take_along_axis


def tile(x, repeats):
    return np.tile(x, repeats)


def unstack(x, axis):
    return list(np.moveaxis(x, axis, 0))


def pad(x, pad_width, constant_values=0):
    return np.pad(x, pad_width, constant_values=constant_values)


def one_hot(x, num_classes, axis=-1):
    return np.moveaxis((x[..., None] == np.arange(num_classes)).astype(float), -1, axis)


def top_k(x, k):
    order = np.argsort(-x, axis=-1, kind="stable")[..., :k]
    return np.take_along_axis(x, order, -1), order


def in_top_k(targets, predictions, k):
    return np.array(
        [t in np.argsort(-row)[:k] for t, row in zip(targets, predictions, strict=True)]
    )


# ---- comparison
equal, not_equal, less, less_equal = np.equal, np.not_equal, np.less, np.less_equal
greater, greater_equal, where = np.greater, np.greater_equal, np.where
logical_and, logical_or, logical_xor, logical_not = (
    np.logical_and,
    np.logical_or,
    np.logical_xor,
    np.logical_not,
)
isnan, isinf, isfinite, floor, ceil, round = (
    np.isnan,
    np.isinf,
    np.isfinite,
    np.floor,
    np.ceil,
    np.round,
)

# ---- reduce
sum, mean, max, min, prod, var, std = np.sum, np.mean, np.max, np.min, np.prod, np.var, np.std
argmax, argmin, all, any = np.argmax, np.argmin, np.all, np.any


def logsumexp(x, axis, keepdims):
    return np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))


# ---- conv


def _window(size, window, stride, dilation, padding):
    """Outputs along one axis, and the padding in front of it."""
    span = (window - 1) * dilation + 1
    if padding == "valid":
        return (size - span) // stride + 1, 0
    out = -(-size // stride)
    if padding == "causal":
        return out, span - 1
    return out, builtins.max(0, (out - 1) * stride + span - size) // 2


def _transposed(size, window, stride, dilation, padding, output_padding):
    """Keras's number of outputs along one axis of a transposed convolution, and what is cut off in front of them."""
    span = (window - 1) * dilation + 1
    if padding == "valid":
        more = builtins.max(span, stride) - span if output_padding is None else output_padding
        return (size - 1) * stride + span + more, 0
    out = (
        size * stride if output_padding is None else (size - 1) * stride + span % 2 + output_padding
    )
    return out, builtins.max(0, (size - 1) * stride + span - out) // 2


def _pair(value):
    return value if isinstance(value, tuple) else (value, value)


def conv2d(x, kernel, bias=None, strides=1, padding="valid", dilation_rate=1, groups=1):
    (sh, sw), (dh, dw) = _pair(strides), _pair(dilation_rate)
    N, H, W, _ = x.shape
    kh, kw, C, F = kernel.shape
    OH, top = _window(H, kh, sh, dh, padding)
    OW, left = _window(W, kw, sw, dw, padding)
    y = np.zeros((N, OH, OW, F), np.result_type(x, kernel))
    for g in range(groups):
        channels, filters = slice(g * C, (g + 1) * C), slice(g * F // groups, (g + 1) * F // groups)
        for i, j, r, q in np.ndindex(OH, OW, kh, kw):
            h, w = i * sh + r * dh - top, j * sw + q * dw - left
            if 0 <= h < H and 0 <= w < W:
                y[:, i, j, filters] += x[:, h, w, channels] @ kernel[r, q, :, filters]
    return y if bias is None else y + bias


def _single(value):
    return value[0] if isinstance(value, tuple) else value


def conv1d(x, kernel, bias=None, strides=1, padding="valid", dilation_rate=1, groups=1):
    strides = _single(strides)
    N, L, _ = x.shape
    k, C, F = kernel.shape
    out, before = _window(L, k, strides, dilation_rate, padding)
    y = np.zeros((N, out, F), np.result_type(x, kernel))
    for f, i, r in np.ndindex(F, out, k):
        first, at = f // (F // groups) * C, i * strides + r * dilation_rate - before
        if 0 <= at < L:
            y[:, i, f] += x[:, at, first : first + C] @ kernel[r, :, f]
    return y if bias is None else y + bias


def conv2d_transpose(
    x, kernel, bias=None, strides=1, padding="valid", output_padding=None, dilation_rate=1
):
    (sh, sw), (dh, dw), (ph, pw) = _pair(strides), _pair(dilation_rate), _pair(output_padding)
    N, H, W, _ = x.shape
    kh, kw, F, _ = kernel.shape
    OH, top = _transposed(H, kh, sh, dh, padding, ph)
    OW, left = _transposed(W, kw, sw, dw, padding, pw)
    y = np.zeros((N, OH, OW, F), np.result_type(x, kernel))
    for i, j, r, q in np.ndindex(H, W, kh, kw):
        h, w = i * sh + r * dh - top, j * sw + q * dw - left
        if 0 <= h < OH and 0 <= w < OW:
            y[:, h, w] += x[:, i, j] @ kernel[r, q].T
    return y if bias is None else y + bias


def conv1d_transpose(
    x, kernel, bias=None, strides=1, padding="valid", output_padding=None, dilation_rate=1
):
    strides = _single(strides)
    (N, L, _), (k, F, _) = x.shape, kernel.shape
    out, before = _transposed(L, k, strides, dilation_rate, padding, output_padding)
    y = np.zeros((N, out, F), np.result_type(x, kernel))
    for i, r in np.ndindex(L, k):
        at = i * strides + r * dilation_rate - before
        if 0 <= at < out:
            y[:, at] += x[:, i] @ kernel[r].T
    return y if bias is None else y + bias


def depthwise_conv2d(x, kernel, bias=None, strides=1, padding="valid", dilation_rate=1):
    channels = [
        conv2d(x[..., c : c + 1], kernel[:, :, c : c + 1], None, strides, padding, dilation_rate)
        for c in range(x.shape[-1])
    ]
    y = np.concatenate(channels, axis=-1)
    return y if bias is None else y + bias


def depthwise_conv1d(x, kernel, bias=None, strides=1, padding="valid", dilation_rate=1):
    channels = [
        conv1d(x[..., c : c + 1], kernel[:, c : c + 1], None, strides, padding, dilation_rate)
        for c in range(x.shape[-1])
    ]
    y = np.concatenate(channels, axis=-1)
    return y if bias is None else y + bias


def separable_conv2d(x, depthwise, pointwise, bias=None, **options):
    y = depthwise_conv2d(x, depthwise, **options) @ pointwise[0, 0]
    return y if bias is None else y + bias


def separable_conv1d(x, depthwise, pointwise, bias=None, **options):
    y = depthwise_conv1d(x, depthwise, **options) @ pointwise[0]
    return y if bias is None else y + bias


# ---- pool


def _pool(x, pool_size, strides, padding, f):
    (kh, kw), (sh, sw) = _pair(pool_size), _pair(pool_size if strides is None else strides)
    N, H, W, C = x.shape
    OH, top = _window(H, kh, sh, 1, padding)
    OW, left = _window(W, kw, sw, 1, padding)
    y = np.zeros((N, OH, OW, C))
    for i, j in np.ndindex(OH, OW):
        h, w = i * sh - top, j * sw - left
        y[:, i, j] = f(x[:, builtins.max(h, 0) : h + kh, builtins.max(w, 0) : w + kw], axis=(1, 2))
    return y


def max_pool2d(x, pool_size=2, strides=None, padding="valid"):
    return _pool(x, pool_size, strides, padding, np.max)


def average_pool2d(x, pool_size=2, strides=None, padding="valid"):
    return _pool(x, pool_size, strides, padding, np.mean)


def _pool1d(x, pool_size, strides, padding, f):
    pool_size, stride = _single(pool_size), _single(pool_size if strides is None else strides)
    out, before = _window(x.shape[1], pool_size, stride, 1, padding)
    y = np.zeros((x.shape[0], out, x.shape[2]))
    for i in range(out):
        at = i * stride - before
        y[:, i] = f(x[:, builtins.max(at, 0) : at + pool_size], axis=1)
    return y


def max_pool1d(x, pool_size=2, strides=None, padding="valid"):
    return _pool1d(x, pool_size, strides, padding, np.max)


def average_pool1d(x, pool_size=2, strides=None, padding="valid"):
    return _pool1d(x, pool_size, strides, padding, np.mean)


def global_max_pool1d(x, keepdims=False):
    return x.max(axis=1, keepdims=keepdims)


def global_average_pool1d(x, keepdims=False):
    return x.mean(axis=1, keepdims=keepdims)


def global_max_pool2d(x, keepdims=False):
    return x.max(axis=(1, 2), keepdims=keepdims)


def global_average_pool2d(x, keepdims=False):
    return x.mean(axis=(1, 2), keepdims=keepdims)


# ---- norm


def _along(vector, x, axis):
    shape = [1] * x.ndim
    shape[axis] = -1
    return np.reshape(vector, shape)


def batch_normalization(x, mean, variance, gamma=None, beta=None, axis=-1, epsilon=1e-3):
    y = (x - _along(mean, x, axis)) / np.sqrt(_along(variance, x, axis) + epsilon)
    if gamma is not None:
        y = y * _along(gamma, x, axis)
    return y if beta is None else y + _along(beta, x, axis)


def batch_normalization_training(x, gamma=None, beta=None, axis=-1, epsilon=1e-3):
    others = tuple(d for d in range(x.ndim) if d != axis % x.ndim)
    mean, variance = x.mean(axis=others), x.var(axis=others)
    return batch_normalization(x, mean, variance, gamma, beta, axis, epsilon), mean, variance


def layer_normalization(x, gamma=None, beta=None, axis=-1, epsilon=1e-3):
    y = (x - x.mean(axis=axis, keepdims=True)) / np.sqrt(x.var(axis=axis, keepdims=True) + epsilon)
    if gamma is not None:
        y = y * gamma
    return y if beta is None else y + beta


# ---- softmax


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def log_softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))


# ---- loss


def weighted_mean(values, sample_weight=None, normalizer=None, reduction="mean"):
    if sample_weight is not None:
        weight = np.asarray(sample_weight)
        while weight.ndim > values.ndim:
            weight = weight[..., 0]
        values = values * weight.reshape(weight.shape + (1,) * (values.ndim - weight.ndim))
    if reduction == "none":
        return values
    return values.sum() / (
        1 if reduction == "sum" else values.size if normalizer is None else normalizer
    )


def _log_probability(y_pred, from_logits):
    if from_logits:
        return log_softmax(y_pred)
    return np.log(np.clip(y_pred / y_pred.sum(axis=-1, keepdims=True), 1e-7, 1 - 1e-7))


def categorical_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, **weighing):
    y_true = y_true * (1 - label_smoothing) + label_smoothing / y_pred.shape[-1]
    return weighted_mean(-(y_true * _log_probability(y_pred, from_logits)).sum(axis=-1), **weighing)


def sparse_categorical_crossentropy(y_true, y_pred, from_logits=False, **weighing):
    labels = y_true.astype(int).reshape(*y_pred.shape[:-1], 1)
    log_p = np.take_along_axis(_log_probability(y_pred, from_logits), labels, axis=-1)
    return weighted_mean(-log_p[..., 0], **weighing)


def _rows(y_true, y_pred):
    if y_true.ndim != y_pred.ndim:
        shape = builtins.min(y_true.shape, y_pred.shape, key=len)
        shape = shape if len(shape) > 1 else (*shape, 1)
        return y_true.reshape(shape), y_pred.reshape(shape)
    return y_true, y_pred


def binary_crossentropy(y_true, y_pred, from_logits=False, label_smoothing=0.0, **weighing):
    t, z = _rows(y_true * (1 - label_smoothing) + label_smoothing / 2, y_pred)
    if from_logits:
        loss = t * softplus(-z) + (1 - t) * softplus(z)
    else:
        p = np.clip(z, 1e-7, 1 - 1e-7)
        loss = -(t * np.log(p) + (1 - t) * np.log(1 - p))
    return weighted_mean(loss.mean(axis=-1), **weighing)


def mean_squared_error(y_true, y_pred, **weighing):
    t, z = _rows(y_true, y_pred)
    return weighted_mean(np.square(t - z).mean(axis=-1), **weighing)


def mean_absolute_error(y_true, y_pred, **weighing):
    t, z = _rows(y_true, y_pred)
    return weighted_mean(np.abs(t - z).mean(axis=-1), **weighing)


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
    """The first n words; four share a block."""
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
    """Of 32 elements 16 take the low halves of 16 words, and then 16 their high halves."""
    groups = -(-x.size // 32)
    words = random_words(16 * groups, seed, stream, step).reshape(groups, 16)
    halves = np.stack([words & 0xFFFF, words >> 16], axis=1).ravel()[: x.size].reshape(x.shape)
    return np.where(halves < builtins.round(rate * 2**16), 0, x / (1 - rate))
