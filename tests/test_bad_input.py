"""What a user may get wrong: one exception that says what was expected and what came, and a model as it was."""

from __future__ import annotations

import numpy as np
import pytest

import fastnn
from fastnn import _core, layers, ops

X = np.random.default_rng(0).standard_normal((20, 4)).astype("float32")
Y = np.arange(20) % 3


def classifier():
    model = fastnn.Sequential(
        [layers.Dense(5, "relu", input_shape=(4,)), layers.Dense(3, "softmax")]
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model


FITS = {
    "no x": ({"x": None}, TypeError, "x: .* got None"),
    "objects": ({"x": np.array([1, "a", None], object)}, TypeError, "x: .*object"),
    "ragged": ({"x": [[1, 2], [3]]}, TypeError, "x: .*ragged"),
    "complex": ({"x": X.astype("complex64")}, TypeError, r"complex64.*x\.real"),
    "text": ({"x": np.full((20, 4), "a")}, TypeError, "x: .*<U1"),
    "dates": ({"x": np.zeros((20, 4), "M8[s]")}, TypeError, "x: .*datetime64"),
    "features": ({"x": X[:, :3]}, ValueError, r"x: expected shape \(N, 4\), got \(20, 3\)"),
    "lengths": ({"y": Y[:19]}, ValueError, "x has 20 samples, y has 19"),
    "empty": ({"x": X[:0], "y": Y[:0]}, ValueError, "x: .*0 samples"),
    "label 3": ({"y": Y + 1}, ValueError, r"y: .*0\.\.2, got 3 at row 2"),
    "label -1": ({"y": Y - 1}, ValueError, "y: .*got -1 at row 0"),
    "label 0.5": ({"y": Y + 0.5}, ValueError, "y: .*got 0.5"),
    "no y": ({"y": None}, ValueError, "y: expected targets"),
    "one-hot": ({"y": np.eye(3)[Y]}, ValueError, "y_true.*one-hot"),
    **{
        f"batch_size {b}": (
            {"batch_size": b},
            (ValueError, TypeError),
            "batch_size: .*positive int",
        )
        for b in (0, -1, 2.5, True, 2**63)
    },
    "epochs": ({"epochs": -1}, ValueError, "epochs: .*-1"),
    "validation_freq": ({"validation_freq": 0, "epochs": 2}, ValueError, "validation_freq: .*0"),
    "validation x alone": ({"validation_data": X}, ValueError, "validation_data: .*targets"),
    "validation labels": ({"validation_data": (X, Y + 1)}, ValueError, "labels"),
    "class_weight of a word": ({"class_weight": {"cat": 2.0}}, ValueError, "class_weight: .*'cat'"),
    "class_weight NaN": ({"class_weight": {0: np.nan}}, ValueError, "class_weight: .*nan"),
    "callbacks": ({"callbacks": 3}, TypeError, "callbacks: .*list.*3"),
}


@pytest.mark.parametrize("given, error, message", FITS.values(), ids=FITS)
def test_fit_says_what_is_wrong_and_changes_nothing(given, error, message):
    model = classifier()
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(error, match=message):
        model.fit(**{"x": X, "y": Y, "verbose": 0, **given})
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
    model.fit(X, Y, verbose=0)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: fastnn.optimizers.Adam(beta_1=1.5), "beta_1: .*1.5"),
        (lambda: fastnn.optimizers.Adam(beta_2=float("nan")), "beta_2: .*nan"),
        (lambda: fastnn.optimizers.Adam(epsilon=-1), "epsilon: .*-1"),
        (lambda: fastnn.optimizers.RMSprop(rho=1.0), "rho: .*1.0"),
        (lambda: fastnn.optimizers.SGD(float("nan")), "learning_rate: .*nan"),
        (lambda: layers.Dropout(1.0), "rate: .*1.0"),
        (lambda: layers.Dense(-3), "units: .*-3"),
        (lambda: layers.Conv2D(4, 3, strides=2, dilation_rate=2), "strides or dilation_rate"),
        (lambda: layers.Conv1D(4, (3, 3)), r"Conv1D: kernel_size: .*\(3, 3\)"),
        (lambda: layers.Conv1D(4, 3, 2, dilation_rate=2), "Conv1D: .*strides or dilation_rate"),
        (lambda: layers.Conv1D(4, 3, padding="full"), "Conv1D: padding: .*'causal', got 'full'"),
        (lambda: layers.Conv2D(4, 3, padding="causal"), "Conv2D: padding: .*got 'causal'"),
        (lambda: layers.Conv1D(4, 3, groups=3), "Conv1D: groups: .*filters"),
        (lambda: layers.Conv2DTranspose(0, 3), "Conv2DTranspose: filters: .*0"),
        (
            lambda: layers.Conv2DTranspose(4, 3, 2, output_padding=2),
            r"Conv2DTranspose: output_padding: .*under the strides \(2, 2\), got 2",
        ),
        (
            lambda: layers.Conv1DTranspose(4, 3, 2, output_padding=(0, 1)),
            r"Conv1DTranspose: output_padding: .*\(0, 1\)",
        ),
        (lambda: layers.Conv2DTranspose(4, 3, 2, output_padding="1"), "output_padding: .*'1'"),
        (lambda: layers.Conv2DTranspose(4, 3, 2, output_padding=1.5), "output_padding: .* got 1.5"),
        (
            lambda: layers.Conv2DTranspose(4, 3, 2, output_padding=True),
            "output_padding: .* got True",
        ),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=0), "depth_multiplier: .*0"),
        (
            lambda: layers.SeparableConv1D(4, 3, data_format="channels_first"),
            r"transpose\(0, 2, 1\)",
        ),
        (lambda: layers.MaxPooling1D(0), "MaxPooling1D: pool_size: .*0"),
    ],
)
def test_arguments_out_of_range(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_set_weights_of_nothing():
    with pytest.raises(TypeError, match="set_weights: expected a list of arrays, got None"):
        classifier().set_weights(None)


def test_more_units_than_memory():
    with pytest.raises(MemoryError, match="could not allocate"):
        fastnn.Sequential([layers.Dense(2**40, input_shape=(4,))])


@pytest.mark.parametrize("repeats", [-1, 2**31, 2**63, (2**40, 2**40)])
def test_tile_too_far(repeats):
    with pytest.raises(ValueError, match=r"tile: .*repeats"):
        ops.tile(np.ones((2, 3)), repeats)


def test_tile_of_nothing_takes_no_time():
    assert ops.tile(np.ones((0,)), 2**30).shape == (0,)


def test_regularizers_by_position_as_in_keras():
    dense = layers.Dense(2, None, True, "ones", "zeros", "l2", "l1")
    assert type(dense.kernel_regularizer).__name__ == "L2"
    assert type(dense.bias_regularizer).__name__ == "L1"
    norm = layers.BatchNormalization(-1, 0.9, 1e-3, True, True, "zeros", "ones", "ones", "zeros")
    assert type(norm.moving_mean_initializer).__name__ == "Ones"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda x: ops.one_hot([1, 2], "many"),
            r"one_hot\(.*num_classes.*got x=\[1, 2\], num_classes='many'",
        ),
        (lambda x: ops.dropout(x, "half"), r"dropout\(.*rate='half'"),
        (
            lambda x: ops.softmax(x, axis="last"),
            r"softmax\(.*x=<float32 of shape \(2, 3\)>, axis='last'",
        ),
        (lambda x: ops.top_k(x, None), r"top_k\(.*k=None"),
    ],
)
def test_an_argument_of_the_wrong_kind_is_shown_with_the_call(call, words):
    with pytest.raises(TypeError, match=words):
        call(np.ones((2, 3), np.float32))


HUGE = {
    "pad": lambda: ops.pad(np.zeros(4), ((2**63 - 1, 2**63 - 1),)),
    "pad of nothing": lambda: ops.pad(np.zeros((0, 4)), ((0, 0), (2**62, 2**62))),
    "concatenate": lambda: ops.concatenate([ops.reshape(np.zeros(0), (2**62, 0))] * 2, axis=0),
    "strides": lambda: ops.reshape(np.zeros(0), [0, 2**31, 2**33]),
    "no int64": lambda: ops.broadcast_to(np.zeros(1), [2**70]),
    "one_hot": lambda: ops.one_hot(np.zeros(3, int), 2**62),
    "pool": lambda: ops.max_pool2d(np.ones((1, 5, 5, 1)), 2**20, padding="same"),
    "dilation": lambda: ops.conv2d(
        np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1)), dilation_rate=2**61, padding="same"
    ),
    "transposed": lambda: ops.conv2d_transpose(
        np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1)), strides=2**62
    ),
    "placeholder": lambda: fastnn.Graph().placeholder((-5, 2)),
}


@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE)
def test_sizes_that_no_integer_holds(make):
    with pytest.raises(ValueError, match=r"too large|2\*\*|out of range|>= 0"):
        make()


def test_steps_and_strides_beyond_any_array_are_as_good_as_its_size():
    x = np.arange(12.0).reshape(3, 4)
    for step in (2**62, -(2**63)):
        np.testing.assert_array_equal(np.asarray(fastnn.Tensor(x)[::step]), x[::step])
    image, kernel = np.ones((1, 5, 5, 1)), np.ones((3, 3, 1, 1))
    assert ops.conv2d(image, kernel, strides=2**62).shape == (1, 1, 1, 1)
    nothing = np.ones((0, 1, 1, 1))
    assert ops.conv2d_transpose(nothing, kernel, strides=(2**40, 1)).shape == (0, 2**40, 3, 1)


@pytest.mark.parametrize("value", [300, -1, 2**40, 2**70])
def test_a_number_that_the_dtype_does_not_hold(value):
    x = np.ones(2, np.uint8)
    for call in (lambda: ops.add(x, value), lambda: ops.where(np.array([True, False]), x, value)):
        with pytest.raises(ValueError, match=f"x2: {value} is out of the range of uint8"):
            call()


def test_a_structure_that_holds_itself():
    endless: list = []
    endless.append(endless)
    with pytest.raises(RecursionError):
        _core.collect((endless,))


def test_an_update_of_unequal_numbers():
    form, w = _core.MomentumForm.keras, np.ones(16)

    def update(variables, slots, gradients):
        arrays = [[w.copy() for _ in range(n)] for n in (variables, slots, gradients)]
        _core.sgd_update(*arrays, 0.1, 0, 0.0, form, False, 0.0)

    update(2, 0, 2)
    with pytest.raises(ValueError, match="gradient: expected 3, one per variable, got 1"):
        update(3, 0, 1)
    with pytest.raises(ValueError, match=r"slot: .*2"):
        update(2, 2, 2)


def test_a_moving_average_of_integers():
    with pytest.raises(TypeError, match=r"moving_average: .*int64"):
        _core.moving_average(fastnn.Variable([4], trainable=False), [8], 0.5)


def test_a_range_that_the_dtype_does_not_hold():
    with pytest.raises(ValueError, match="finite in float32"):
        fastnn.random.uniform((3,), -3e38, 3e38)
