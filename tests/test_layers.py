"""Layers: shapes, numbers, weights, configuration, errors, and that placeholders record what eager calls run."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
import reference
from fastnn import layers, ops
from numerics import assert_close, numeric_gradient, relative_error

RNG = np.random.default_rng(0)
IMAGE, ROW = (2, 7, 6, 4), (2, 9, 4)

# One row per layer: maker, shape of x, shape of y, number of parameters.
LAYERS = {
    "dense": (lambda **k: layers.Dense(3, "tanh", **k), (5, 4), (5, 3), 15),
    "dense without bias": (lambda **k: layers.Dense(3, use_bias=False, **k), (5, 4), (5, 3), 12),
    "dense on images": (lambda **k: layers.Dense(16, **k), (2, 20, 20, 3), (2, 20, 20, 16), 64),
    "conv2d": (
        lambda **k: layers.Conv2D(5, 3, activation="sigmoid", **k),
        IMAGE,
        (2, 5, 4, 5),
        185,
    ),
    "conv2d same": (lambda **k: layers.Conv2D(5, (3, 2), 2, "same", **k), IMAGE, (2, 4, 3, 5), 125),
    "conv2d dilated": (
        lambda **k: layers.Conv2D(5, 2, dilation_rate=2, **k),
        IMAGE,
        (2, 5, 4, 5),
        85,
    ),
    "conv2d groups": (lambda **k: layers.Conv2D(6, 3, groups=2, **k), IMAGE, (2, 5, 4, 6), 114),
    "conv1d": (lambda **k: layers.Conv1D(5, 3, activation="tanh", **k), ROW, (2, 7, 5), 65),
    "conv1d causal": (
        lambda **k: layers.Conv1D(6, 3, 2, "causal", groups=2, **k),
        ROW,
        (2, 5, 6),
        42,
    ),
    "conv1d dilated": (lambda **k: layers.Conv1D(5, 2, dilation_rate=3, **k), ROW, (2, 6, 5), 45),
    "conv1d transposed": (
        lambda **k: layers.Conv1DTranspose(5, 3, 2, activation="sigmoid", **k),
        ROW,
        (2, 19, 5),
        65,
    ),
    "conv1d transposed, padded": (
        lambda **k: layers.Conv1DTranspose(5, 3, 4, "same", 2, use_bias=False, **k),
        ROW,
        (2, 35, 5),
        60,
    ),
    "conv2d transposed": (
        lambda **k: layers.Conv2DTranspose(5, 3, 2, "same", activation="tanh", **k),
        IMAGE,
        (2, 14, 12, 5),
        185,
    ),
    "conv2d transposed, padded": (
        lambda **k: layers.Conv2DTranspose(5, (2, 3), (3, 2), output_padding=(2, 0), **k),
        IMAGE,
        (2, 22, 13, 5),
        125,
    ),
    "conv2d transposed, dilated": (
        lambda **k: layers.Conv2DTranspose(5, 3, dilation_rate=2, activation="tanh", **k),
        IMAGE,
        (2, 11, 10, 5),
        185,
    ),
    "depthwise conv1d": (
        lambda **k: layers.DepthwiseConv1D(3, 2, depth_multiplier=3, **k),
        ROW,
        (2, 4, 12),
        48,
    ),
    "depthwise conv2d": (
        lambda **k: layers.DepthwiseConv2D(3, padding="same", activation="tanh", **k),
        IMAGE,
        IMAGE,
        40,
    ),
    "separable conv1d": (
        lambda **k: layers.SeparableConv1D(5, 3, depth_multiplier=2, **k),
        ROW,
        (2, 7, 5),
        69,
    ),
    "separable conv2d": (
        lambda **k: layers.SeparableConv2D(5, 3, 2, "same", activation="sigmoid", **k),
        IMAGE,
        (2, 4, 3, 5),
        61,
    ),
    "max pooling 1d": (lambda **k: layers.MaxPooling1D(**k), ROW, (2, 4, 4), 0),
    "average pooling 1d": (
        lambda **k: layers.AveragePooling1D(3, 2, "same", **k),
        ROW,
        (2, 5, 4),
        0,
    ),
    "global average 1d": (lambda **k: layers.GlobalAveragePooling1D(**k), ROW, (2, 4), 0),
    "global max 1d": (lambda **k: layers.GlobalMaxPooling1D(keepdims=True, **k), ROW, (2, 1, 4), 0),
    "max pooling": (lambda **k: layers.MaxPooling2D(**k), IMAGE, (2, 3, 3, 4), 0),
    "max pooling same": (
        lambda **k: layers.MaxPooling2D(3, 2, "same", **k),
        IMAGE,
        (2, 4, 3, 4),
        0,
    ),
    "average pooling": (
        lambda **k: layers.AveragePooling2D((3, 2), 1, **k),
        IMAGE,
        (2, 5, 5, 4),
        0,
    ),
    "global average": (lambda **k: layers.GlobalAveragePooling2D(**k), IMAGE, (2, 4), 0),
    "global max": (
        lambda **k: layers.GlobalMaxPooling2D(keepdims=True, **k),
        IMAGE,
        (2, 1, 1, 4),
        0,
    ),
    "flatten": (lambda **k: layers.Flatten(**k), IMAGE, (2, 168), 0),
    "reshape": (lambda **k: layers.Reshape((6, -1), **k), IMAGE, (2, 6, 28), 0),
    "dropout": (lambda **k: layers.Dropout(0.4, **k), (5, 4), (5, 4), 0),
    "activation": (lambda **k: layers.Activation("softmax", **k), (5, 4), (5, 4), 0),
    "relu": (lambda **k: layers.ReLU(**k), (5, 4), (5, 4), 0),
    "relu with everything": (lambda **k: layers.ReLU(1.5, 0.1, 0.25, **k), (5, 4), (5, 4), 0),
    "leaky relu": (lambda **k: layers.LeakyReLU(**k), (5, 4), (5, 4), 0),
    "elu": (lambda **k: layers.ELU(0.7, **k), (5, 4), (5, 4), 0),
    "softmax": (lambda **k: layers.Softmax(axis=1, **k), (5, 4, 3), (5, 4, 3), 0),
    "batch normalization": (lambda **k: layers.BatchNormalization(**k), IMAGE, IMAGE, 16),
    "batch normalization axis 1": (
        lambda **k: layers.BatchNormalization(axis=1, **k),
        (5, 1, 3),
        (5, 1, 3),
        4,
    ),
    "layer normalization": (lambda **k: layers.LayerNormalization(**k), (5, 4), (5, 4), 8),
    "input": (lambda **k: layers.InputLayer((4,), **k), (5, 4), (5, 4), 0),
}


def data(shape, dtype="float32"):
    return np.random.default_rng(3).standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_dtypes_and_parameters(name, dtype):
    make, x_shape, y_shape, parameters = LAYERS[name]
    layer = make(dtype=dtype)
    y = layer(data(x_shape))
    assert y.shape == y_shape
    assert y.dtype == dtype
    assert all(v.dtype == dtype for v in layer.weights)
    assert layer.count_params() == parameters
    assert layer.compute_output_shape((None, *x_shape[1:])) == (None, *y_shape[1:])


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_placeholders_record_what_eager_runs(name, training):
    make, x_shape, y_shape, _ = LAYERS[name]
    layer = make()
    layer(data(x_shape))
    before = layer.get_weights()
    steps = [int(v) for v in layer.variables if v.dtype == np.int64]
    graph = fastnn.Graph()
    with graph:
        y = layer(graph.placeholder((None, *x_shape[1:])), training=training)
    assert y.shape == (None, *y_shape[1:])
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert steps == [int(v) for v in layer.variables if v.dtype == np.int64]
    with fastnn.Graph(tracing=False) as eager:
        layer(fastnn.Tensor(data(x_shape)), training=training)
    assert [n[0] for n in graph.nodes] == [n[0] for n in eager.nodes]


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_of_weights_and_inputs(name):
    make, x_shape, _, _ = LAYERS[name]
    layer = make(dtype="float64")
    x = data(x_shape, "float64")
    y = np.asarray(layer(x))
    seed = np.random.default_rng(5).standard_normal(y.shape)
    tensor = fastnn.Tensor(x)
    sources = [tensor, *layer.trainable_weights]
    with fastnn.GradientTape() as tape:
        tape.watch(tensor)
        out = layer(tensor)
    found = tape.gradient(out, sources, seed)
    # One random direction over everything at once.
    rng = np.random.default_rng(6)
    directions = [rng.standard_normal(s.shape) for s in sources]
    start = [np.array(s) for s in sources]

    def along(t):
        for v, w, d in zip(layer.trainable_weights, start[1:], directions[1:], strict=True):
            v.assign(w + t[0] * d)
        return float(np.vdot(seed, np.asarray(layer(start[0] + t[0] * directions[0]))))

    numeric = numeric_gradient(along, [np.zeros(1)], [0])[0]
    analytic = np.array(
        [sum(np.vdot(np.asarray(g), d) for g, d in zip(found, directions, strict=True))]
    )
    assert relative_error(analytic, numeric) < 1e-7


@pytest.mark.parametrize("name", LAYERS)
def test_config_makes_the_same_layer(name):
    make, x_shape, _, _ = LAYERS[name]
    layer = make(name="mine")
    layer(data(x_shape))
    config = layer.get_config()
    twin = type(layer).from_config(config)
    twin(data(x_shape))
    assert twin.name == "mine"
    assert twin.get_config() == config
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(np.asarray(layer(data(x_shape))), np.asarray(twin(data(x_shape))))


def test_dense_is_the_formula():
    layer = layers.Dense(3, "sigmoid")
    x = data((5, 4))
    y = layer(x)
    kernel, bias = layer.get_weights()
    assert kernel.shape == (4, 3) and not bias.any()
    assert_close(y, reference.sigmoid(x.astype("float64") @ kernel + bias), c=4, depth=4)


@pytest.mark.parametrize(
    "layer, shape, weights",
    [
        (layers.Conv1D(5, 3), ROW, {"kernel": (3, 4, 5), "bias": (5,)}),
        (layers.Conv1DTranspose(5, 3), ROW, {"kernel": (3, 5, 4), "bias": (5,)}),
        (layers.Conv2DTranspose(5, (3, 2)), IMAGE, {"kernel": (3, 2, 5, 4), "bias": (5,)}),
        (layers.DepthwiseConv1D(3, depth_multiplier=2), ROW, {"kernel": (3, 4, 2), "bias": (8,)}),
        (layers.DepthwiseConv2D((3, 2)), IMAGE, {"kernel": (3, 2, 4, 1), "bias": (4,)}),
        (
            layers.SeparableConv1D(5, 3, depth_multiplier=2),
            ROW,
            {"depthwise_kernel": (3, 4, 2), "pointwise_kernel": (1, 8, 5), "bias": (5,)},
        ),
        (
            layers.SeparableConv2D(5, 3, use_bias=False),
            IMAGE,
            {"depthwise_kernel": (3, 3, 4, 1), "pointwise_kernel": (1, 1, 4, 5)},
        ),
    ],
)
def test_weights_have_the_names_and_shapes_of_keras(layer, shape, weights):
    layer(data(shape))
    assert {v.name: v.shape for v in layer.weights} == weights


def test_transposed_layers_have_the_sizes_of_keras():
    def sizes(**options):
        layer = layers.Conv2DTranspose(1, 3, 2, **options)
        return layer.compute_output_shape((None, 5, None, 1))

    assert sizes() == (None, 11, None, 1)
    assert sizes(padding="same") == (None, 10, None, 1)
    assert sizes(padding="same", output_padding=0) == (None, 9, None, 1)
    assert sizes(output_padding=1) == (None, 12, None, 1)
    assert sizes(output_padding=np.int64(1)) == (None, 12, None, 1)
    assert layers.Conv1DTranspose(32, 3, 2)(data((4, 10, 8))).shape == (4, 21, 32)
    assert layers.Conv2DTranspose(32, 2, 2)(data((4, 10, 8, 3))).shape == (4, 20, 16, 32)


def test_initializers_count_the_fans_of_kernels_as_keras_does():
    """By the last two axes: a transposed kernel's are turned, a depthwise one's are its channels and its multiplier."""
    for layer, shape, fans in (
        (layers.Conv2DTranspose(60, 3), (1, 5, 5, 20), 9 * 80),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (1, 5, 5, 60), 9 * 62),
        (layers.Conv1D(60, 3), (1, 5, 20), 3 * 80),
    ):
        layer(data(shape))
        limit = np.sqrt(6 / fans)
        assert 0.97 * limit < np.abs(layer.get_weights()[0]).max() <= limit * (1 + 1e-6)


def test_kernels_of_separable_layers_have_arguments_of_their_own():
    layer = layers.SeparableConv2D(
        2, 3, depthwise_initializer="ones", pointwise_initializer="zeros",
        depthwise_regularizer="l2", pointwise_constraint="non_neg",
    )  # fmt: skip
    layer(data(IMAGE))
    assert layer.get_weights()[0].min() == 1 and not layer.get_weights()[1].any()
    assert [float(v) for v in layer.losses] == [pytest.approx(0.01 * 36)]
    layer.set_weights([layer.get_weights()[0], np.full((1, 1, 4, 2), -1.0), [0.0, 0.0]])
    layer.apply_constraints()
    assert not layer.get_weights()[1].any()


def test_perceptron_of_the_lessons():
    layer = layers.Dense(1, "sigmoid")
    layer.build((None, 2))
    layer.set_weights([[[3.0], [-2.0]], [1.0]])
    assert_close(np.asarray(layer([[-2.0, 2.0]])), [[1.2339458e-4]], c=4)


def test_relu_with_max_slope_and_threshold():
    x = np.array([-3.0, -0.5, 0.0, 0.2, 0.25, 1.0, 1.5, 2.0, np.nan], "float32")
    y = layers.ReLU(max_value=1.5, negative_slope=0.1, threshold=0.25)(x)
    expected = np.where(x >= 0.25, np.minimum(x, 1.5), 0.1 * (x.astype("float64") - 0.25))
    assert_close(y, expected, c=4)


@pytest.mark.parametrize(
    "layer, slope",
    [(layers.LeakyReLU(), 0.3), (layers.LeakyReLU(0.2), 0.2), (layers.LeakyReLU(alpha=0.1), 0.1)],
)
def test_leaky_relu_slopes(layer, slope):
    assert float(layer(np.array([-2.0], "float32")).numpy()[0]) == pytest.approx(-2 * slope)


def test_inputs_of_any_dtype_are_cast():
    layer = layers.Dense(2)
    x = np.arange(8).reshape(2, 4)
    expected = np.asarray(layer(x.astype("float32")))
    for dtype in ("uint8", "int32", "int64", "float64", "int8"):
        np.testing.assert_array_equal(np.asarray(layer(x.astype(dtype))), expected)
    assert layer(x > 3).dtype == np.float32
    assert layer([[1, 2, 3, 4]]).shape == (1, 2)


# ---- dropout


def test_dropout_scales_what_it_keeps_and_rests_at_inference():
    x = np.ones((200, 50), "float32")
    layer = layers.Dropout(keep_prob=0.8, seed=4)
    np.testing.assert_array_equal(np.asarray(layer(x)), x)
    y = np.asarray(layer(x, training=True))
    assert set(np.unique(y)) == {np.float32(0), np.float32(1) / np.float32(0.8)}
    assert abs((y == 0).mean() - 0.2) < 0.02
    assert layer.weights == []
    assert layer.count_params() == 0


def test_dropout_masks_differ_by_call_and_by_occurrence():
    x = np.ones((8, 16), "float32")
    layer = layers.Dropout(0.5)

    class Twice(layers.Layer):
        def __init__(self):
            super().__init__()
            self.dropout = layer

        def call(self, x):
            return ops.stack([self.dropout(x), self.dropout(x)])

    a, b = np.asarray(Twice()(x, training=True))
    c = np.asarray(layer(x, training=True))
    assert (a != b).any() and (a != c).any() and (b != c).any()
    assert int(layer.generator.step) == 2


def test_dropout_is_differentiated_after_its_step_has_moved_on():
    layer = layers.Dropout(0.5)
    x = fastnn.Tensor(np.ones((4, 5), "float32"))
    with fastnn.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=True)
    np.testing.assert_array_equal(np.asarray(tape.gradient(y, x)), np.asarray(y))


# ---- batch normalization


def test_batch_normalization_moves_its_averages_in_training_only():
    layer = layers.BatchNormalization(momentum=0.9)
    x = 3 + 2 * data((64, 4))
    layer(x)
    np.testing.assert_array_equal(layer.get_weights()[2], np.zeros(4))
    y = np.asarray(layer(x, training=True))
    assert_close(y.mean(0), np.zeros(4), c=16, depth=64)
    mean, variance = layer.get_weights()[2:]
    assert_close(mean, 0.1 * x.astype("float64").mean(0), c=16, depth=64)
    assert_close(variance, 0.9 + 0.1 * x.astype("float64").var(0), c=16, depth=64)
    expected = (x - mean.astype("float64")) / np.sqrt(variance.astype("float64") + 1e-3)
    assert_close(layer(x), expected, c=16)


def test_frozen_batch_normalization_infers_in_training():
    layer = layers.BatchNormalization()
    x = data((8, 4))
    layer(x)
    layer.trainable = False
    before = layer.get_weights()
    np.testing.assert_array_equal(np.asarray(layer(x, training=True)), np.asarray(layer(x)))
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failing_call_moves_no_average():
    class Fails(layers.Layer):
        def __init__(self):
            super().__init__()
            self.norm = layers.BatchNormalization()

        def call(self, x):
            self.norm(x)
            raise RuntimeError("no")

    layer = Fails()
    layer.norm.build((None, 4))
    before = layer.get_weights()
    with pytest.raises(RuntimeError, match="Fails 'fails': no"):
        layer(data((8, 4)), training=True)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_value_per_channel_has_variance_zero():
    y = layers.BatchNormalization()(data((1, 4)), training=True)
    np.testing.assert_array_equal(np.asarray(y), np.zeros((1, 4)))


# ---- weights, tracking, names


class Block(layers.Layer):
    def __init__(self, units, **options):
        super().__init__(**options)
        self.units = units
        self.inner = [layers.Dense(units), layers.BatchNormalization()]
        self.gain = fastnn.Variable(2.0, name="gain")

    def call(self, x):
        for layer in self.inner:
            x = layer(x)
        self.add_loss(ops.mean(x) * 0 + 0.5)
        return x * self.gain


def test_sub_layers_and_variables_are_tracked():
    block = Block(3)
    block(data((5, 4)))
    assert [v.name for v in block.weights] == [
        "gain", "kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance",
    ]  # fmt: skip
    assert len(block.trainable_weights) == 5
    assert len(block.non_trainable_variables) == 2
    assert [float(loss) for loss in block.losses] == [0.5]
    block.trainable = False
    assert block.trainable_variables == []
    assert not any(v.trainable for v in block.weights)
    block.trainable = True
    assert len(block.trainable_weights) == 5  # the averages did not become trainable


def test_a_replaced_layer_is_forgotten():
    block = Block(3)
    block.head = layers.Dense(2)
    block.head = layers.Dense(7)
    assert [layer.units for layer in block._layers if isinstance(layer, layers.Dense)] == [3, 7]


def test_a_user_layer_needs_only_build_and_call():
    class Linear(layers.Layer):
        def build(self, input_shape):
            self.w = self.add_weight(shape=(input_shape[-1], 2), initializer="ones", name="w")
            self.b = self.add_weight((2,), "zeros", name="b")

        def call(self, x):
            return ops.sigmoid(ops.matmul(x, self.w) + self.b)

    layer = Linear()
    x = data((3, 4), "float64")
    with fastnn.GradientTape() as tape:
        y = layer(x)
    dw, db = tape.gradient(y, layer.trainable_weights)
    slope = np.asarray(y) * (1 - np.asarray(y))
    assert_close(dw, x.T @ slope, c=8, depth=3)
    assert_close(db, slope.sum(0), c=8, depth=3)
    assert layer.built and layer.count_params() == 10


def test_add_weight_arguments_are_keras_names():
    layer = layers.Layer()
    w = layer.add_weight(
        shape=(2, 3), initializer="zeros", dtype="float64", trainable=False, name="w"
    )
    assert (w.shape, w.dtype, w.trainable, w.name) == ((2, 3), np.float64, False, "w")
    assert layer.add_weight(name="scalar").shape == ()
    assert layer.add_weight((2,), dtype="int64").dtype == np.int64
    with pytest.raises(TypeError, match="name='kernel' by keyword"):
        layer.add_weight("kernel", (2, 3))


def test_penalties_are_of_trainable_weights():
    layer = layers.Dense(2, kernel_regularizer="l2", bias_regularizer=fastnn.regularizers.L1(0.5))
    layer(data((1, 3)))
    layer.set_weights([np.full((3, 2), 2.0), [1.0, -1.0]])
    assert [float(v) for v in layer.losses] == [pytest.approx(0.01 * 24), pytest.approx(1.0)]
    layer.trainable = False
    assert layer.losses == []


def test_activity_regularizer_adds_a_loss_per_call():
    layer = layers.Dense(2, use_bias=False, kernel_initializer="ones", activity_regularizer="l1")
    layer(np.ones((1, 3)))
    assert [float(v) for v in layer.losses] == [pytest.approx(0.01 * 6)]


def test_names_are_numbered_as_keras_does():
    first, second = layers.MaxPooling2D(), layers.MaxPooling2D()
    base, number = second.name.rsplit("_", 1)
    assert base == "max_pooling2d"
    assert first.name in ("max_pooling2d", f"max_pooling2d_{int(number) - 1}")
    assert layers.ReLU().name.startswith("re_lu")
    assert layers.Conv2D(1, 1).name.startswith("conv2d")
    assert layers.Dense(1, name="mine").name == "mine"


def test_set_weights_takes_all_or_none():
    layer = layers.Dense(2, name="d")
    layer(data((1, 3)))
    before = layer.get_weights()
    kernel, bias = np.ones((3, 2)), np.ones(2)
    for weights, kind, message in (
        ([kernel], ValueError, "Dense 'd': set_weights: expected 2 arrays, got 1"),
        (
            [kernel, np.ones(3)],
            ValueError,
            r"Dense 'd': set_weights: array 1 \(bias\): expected shape \(2,\), got \(3,\)",
        ),
        ([kernel, [1.0, np.nan]], ValueError, r"array 1 \(bias\): expected numbers, got 1 NaN"),
        ([kernel, ["a", "b"]], TypeError, r"array 1 \(bias\): expected numbers, got dtype"),
        ([kernel, bias * 1j], TypeError, "complex"),
    ):
        with pytest.raises(kind, match=message):
            layer.set_weights(weights)
        for a, b in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    layer.set_weights([kernel, bias])
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)
    layer.get_weights()[0][:] = 7
    np.testing.assert_array_equal(layer.get_weights()[0], kernel)


# ---- bad arguments and inputs


@pytest.mark.parametrize(
    "make, kind, message",
    [
        (lambda: layers.Dense(0), ValueError, "Dense: units: expected a positive int, got 0"),
        (lambda: layers.Dense(-3), ValueError, "Dense: units: expected a positive int, got -3"),
        (lambda: layers.Dense(2.5), TypeError, "Dense: units: expected a positive int, got 2.5"),
        (lambda: layers.Dense(3, "relux"), ValueError, "activation: expected one of"),
        (
            lambda: layers.Conv2D(8, 3, strides=0),
            ValueError,
            "Conv2D: strides: expected a positive int, got 0",
        ),
        (lambda: layers.Conv2D(8, 3, dilation_rate=0), ValueError, "Conv2D: dilation_rate"),
        (
            lambda: layers.Conv2D(8, 3, strides=2, dilation_rate=2),
            ValueError,
            "strides or dilation_rate to be 1",
        ),
        (
            lambda: layers.Conv2D(8, 3, groups=3),
            ValueError,
            "Conv2D: groups: expected a divisor of filters",
        ),
        (
            lambda: layers.Conv2D(8, (3, 3, 3)),
            ValueError,
            "Conv2D: kernel_size: expected one or two",
        ),
        (
            lambda: layers.Conv2D(8, 3, padding="full"),
            ValueError,
            "Conv2D: padding: expected 'valid' or 'same'",
        ),
        (lambda: layers.Conv2D(8, 3, data_format="channels_first"), ValueError, "channels go last"),
        (lambda: layers.MaxPooling2D(0), ValueError, "MaxPooling2D: pool_size"),
        (
            lambda: layers.Dropout(1.0),
            ValueError,
            "Dropout: rate: expected a number >= 0 and < 1, got 1.0",
        ),
        (lambda: layers.Dropout(-0.1), ValueError, "Dropout: rate"),
        (lambda: layers.Dropout(float("nan")), ValueError, "Dropout: rate"),
        (lambda: layers.Dropout(), TypeError, "rate or keep_prob"),
        (lambda: layers.Dropout(keep_prob=0), ValueError, "Dropout: keep_prob"),
        (
            lambda: layers.BatchNormalization(momentum=1.5),
            ValueError,
            "BatchNormalization: momentum",
        ),
        (lambda: layers.BatchNormalization(epsilon=-1), ValueError, "BatchNormalization: epsilon"),
        (lambda: layers.Reshape((-1, -1)), ValueError, "Reshape: target_shape"),
        (
            lambda: layers.Dense(3, dtype="int32"),
            ValueError,
            "Dense: dtype: expected 'float32' or 'float64'",
        ),
        (lambda: layers.Dense(3, units_=3), TypeError, "units_"),
        (lambda: layers.Dense(3, input_shape=(0,)), ValueError, "Dense: input_shape"),
        (lambda: layers.Dense(3).count_params(), ValueError, "not built yet"),
    ],
)
def test_bad_arguments(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize(
    "layer, x, kind, message",
    [
        (layers.Dense(2, name="d"), [[1, 2], [3]], TypeError, r"Dense 'd': x: .*ragged"),
        (layers.Dense(2, name="d"), np.ones((2, 2), "complex64"), TypeError, r"Dense 'd': x: complex64 .*x\.real"),
        (layers.Dense(2, name="d"), np.array([["a"]]), TypeError, "Dense 'd': x: expected an array of numbers"),
        (layers.Dense(2, name="d"), np.ones(3), ValueError, r"Dense 'd': expected x of shape \(batch, ..., features\)"),
        (layers.Dense(2, name="d"), np.ones((3, 0)), ValueError, "Dense 'd': expected x with at least one element"),
        (layers.Conv2D(2, 3, name="c"), np.ones((3, 8, 8)), ValueError, "Conv2D 'c': .*one channel: x"),
        (layers.Conv2D(2, 7, name="c"), np.ones((1, 5, 5, 1)), ValueError, "Conv2D 'c': .*valid"),
        (layers.Conv2D(6, 3, groups=3, name="c"), np.ones((1, 5, 5, 16)), ValueError, "Conv2D 'c': groups"),
        (layers.Conv1D(2, 3, name="c"), np.ones((3, 8)), ValueError, "Conv1D 'c': .*length, channels.*one channel: x"),
        (layers.Conv1D(2, 7, name="c"), np.ones((1, 5, 1)), ValueError, "Conv1D 'c': .*length >= 7.*valid"),
        (layers.Conv2DTranspose(2, 3, name="c"), np.ones((1, 0, 5, 1)), ValueError, "Transpose 'c': .*height >= 1"),
        (layers.DepthwiseConv2D(3, name="c"), np.ones((1, 5, 5, 0)), ValueError, "DepthwiseConv2D 'c': .*one element"),
        (layers.GlobalMaxPooling1D(name="p"), np.ones((1, 5)), ValueError, "GlobalMaxPooling1D 'p': .*length"),
        (layers.MaxPooling2D(2**29, name="p"), np.ones((1, 5, 5, 1)), ValueError, "MaxPooling2D 'p'"),
        (layers.Conv2D(2, 3, dilation_rate=1_800_000_000, name="c"), np.ones((1, 5, 5, 1)), ValueError, "Conv2D 'c'"),
        (layers.Flatten(name="f"), None, TypeError, "Flatten 'f': x"),
        (layers.Reshape((5, 5), name="r"), np.ones((2, 24)), ValueError, "Reshape 'r': .*25 elements.*got 24"),
        (layers.Reshape((5, -1), name="r"), np.ones((2, 24)), ValueError, "Reshape 'r'"),
        (layers.BatchNormalization(axis=4, name="b"), np.ones((2, 3)), ValueError, "BatchNormalization 'b': axis"),
    ],
)  # fmt: skip
def test_bad_inputs_name_the_layer_and_build_nothing(layer, x, kind, message):
    with pytest.raises(kind, match=message):
        layer(x)
    assert not layer.built
    assert layer.weights == []


def test_a_built_layer_names_itself_when_x_does_not_fit():
    layer = layers.Conv2D(4, 3, name="c1")
    layer(np.ones((1, 8, 8, 16)))
    before = layer.get_weights()
    with pytest.raises(ValueError, match=r"Conv2D 'c1': .*16.*channels go last"):
        layer(np.ones((8, 16, 32, 32)))
    np.testing.assert_array_equal(layer.get_weights()[0], before[0])


def test_a_layer_too_large_for_memory_is_a_memory_error():
    with pytest.raises(MemoryError):
        layers.Dense(2**40)(np.ones((1, 2**12)))


def test_the_innermost_layer_is_named_once():
    model = fastnn.Sequential([layers.Dense(3, name="inner")], name="outer")
    model(np.ones((2, 4)))
    with pytest.raises(ValueError) as error:
        model(np.ones((2, 5)))
    assert str(error.value).count("'inner'") == 1
    assert "outer" not in str(error.value)


@pytest.mark.parametrize("name", [n for n in fastnn.activations.__all__ if n != "get"])
def test_activations_by_name(name):
    f = fastnn.activations.get(name)
    assert f is getattr(fastnn.activations, name)
    assert layers.Activation(name)(data((3, 4))).shape == (3, 4)
    with pytest.raises(TypeError, match="activation"):
        fastnn.activations.get(3)


def test_a_subclass_may_have_a_call_of_its_own():
    class Doubling(layers.Dense):
        def __call__(self, x):  # without the keywords of Layer.__call__
            return super().__call__(2 * x)

    layer = Doubling(1, use_bias=False, kernel_initializer="ones")
    assert np.asarray(layer(np.ones((1, 1), "f4"))) == 2
    assert np.asarray(fastnn.Sequential([layer])(np.ones((1, 1), "f4"), training=True)) == 2
