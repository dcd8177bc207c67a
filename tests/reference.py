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
    return values.sum() / (1 if reduction == "sum" else values.size if normalizer is None else normalizer)


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
        shape = min(y_true.shape, y_pred.shape, key=len)
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
