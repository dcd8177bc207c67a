"""Functional models: several inputs and outputs, shared layers, sub-models, and how they are trained."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import fastnn
from fastnn import GradientTape, Model, Sequential, layers, ops

RNG = np.random.default_rng(0)
A = RNG.standard_normal((60, 4)).astype("float32")
B = RNG.standard_normal((60, 3)).astype("float32")
KIND = RNG.integers(0, 3, 60)
SIZE = RNG.standard_normal((60, 1)).astype("float32")
IMAGES = RNG.standard_normal((10, 8, 8, 3)).astype("float32")


def two_by_two(dtype="float32"):
    """Two inputs, two outputs, merged in the middle."""
    a, b = fastnn.Input((4,), name="a", dtype=dtype), fastnn.Input((3,), name="b", dtype=dtype)
    left = layers.Dense(8, activation="tanh", name="left", dtype=dtype)(a)
    right = layers.Dense(8, activation="tanh", name="right", dtype=dtype)(b)
    joined = layers.Concatenate(name="joined", dtype=dtype)([left, right])
    kind = layers.Dense(3, activation="softmax", name="kind", dtype=dtype)(joined)
    size = layers.Dense(1, name="size", dtype=dtype)(joined)
    return Model([a, b], [kind, size], name="two_by_two", dtype=dtype)


def compiled_two_by_two(**changes):
    model = two_by_two()
    model.compile(
        "adam",
        **{
            "loss": {"kind": "sparse_categorical_crossentropy", "size": "mse"},
            "loss_weights": {"kind": 1.0, "size": 0.5},
            "metrics": {"kind": ["accuracy"], "size": "mae"},
            **changes,
        },
    )
    return model


def residual():
    image = fastnn.Input((8, 8, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="stem")(image)
    y = layers.Conv2D(4, 3, padding="same", name="conv")(x)
    y = layers.BatchNormalization(name="norm")(y)
    x = ops.relu(layers.add([x, y]))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return Model(image, layers.Dense(2, name="head")(x), name="residual")


def printed(model):
    lines = []
    model.summary(print_fn=lines.append)
    return lines


# ---- what a graph computes


def test_a_chain_is_what_a_sequential_is():
    x = fastnn.Input((4,))
    first, second = layers.Dense(5, activation="relu"), layers.Dense(2)
    model = Model(x, second(first(x)))
    twin = Sequential([fastnn.Input((4,)), layers.Dense(5, activation="relu"), layers.Dense(2)])
    twin.set_weights(model.get_weights())
    np.testing.assert_array_equal(model.predict(A), twin.predict(A))
    assert model.built and model.input_shape == (None, 4) and model.output_shape == (None, 2)


def test_two_inputs_two_outputs():
    model = two_by_two()
    kind, size = model.predict([A, B], batch_size=7)
    h = np.concatenate(
        [
            np.asarray(model.get_layer("left")(A)),
            np.asarray(model.get_layer("right")(B)),
        ],
        axis=1,
    )
    np.testing.assert_array_equal(size, np.asarray(model.get_layer("size")(h)))
    assert kind.shape == (60, 3) and type(kind) is np.ndarray
    by_name = model.predict({"b": B, "a": A})
    np.testing.assert_array_equal(by_name[0], kind)
    assert [w.shape for w in model.get_weights()] == [
        (4, 8), (8,), (3, 8), (8,), (16, 3), (3,), (16, 1), (1,),
    ]  # fmt: skip
    assert model.input_names == ["a", "b"] and model.output_names == ["kind", "size"]


def test_structures_of_inputs_and_outputs():
    a, b = fastnn.Input((4,)), fastnn.Input((3,))
    joined = layers.concatenate([a, b])
    model = Model({"first": a, "second": b}, {"sum": a * 2, "all": joined})
    assert model.output_names == ["sum", "all"]
    out = model.predict({"second": B, "first": A})
    np.testing.assert_array_equal(out["sum"], 2 * A)
    np.testing.assert_array_equal(out["all"], np.hstack([A, B]))
    out = model({"first": A, "second": B})
    assert isinstance(out, dict) and out["all"].shape == (60, 7)
    out = Model((a, b), (b, a))((A, B))
    np.testing.assert_array_equal(np.asarray(out[0]), B)


def test_a_residual_net():
    model = residual()
    x = np.asarray(model.get_layer("stem")(IMAGES))
    y = np.asarray(model.get_layer("norm")(model.get_layer("conv")(x)))
    h = np.maximum(x + y, 0).mean((1, 2))
    head = model.get_layer("head")
    np.testing.assert_allclose(model.predict(IMAGES), np.asarray(head(h)), rtol=1e-5, atol=1e-6)
    assert len(model.trainable_variables) == 8 and len(model.weights) == 10


def test_operators_and_ops_are_layers():
    x, y = fastnn.Input((4,)), fastnn.Input((4,))
    row = np.array([1.0, 2.0, 3.0, 4.0], "float32")
    cases = [
        (x * 2 + y, A * 2 + A[::-1]),
        (1 - x / 2, 1 - A / 2),
        (row * x, row * A),
        (fastnn.Tensor(row) - x, row - A),
        (-x @ ops.eye(4), -A),
        (x[:, 1:3], A[:, 1:3]),
        (x[..., 0], A[..., 0]),
        (ops.concatenate([x, y], axis=1), np.hstack([A, A[::-1]])),
        (ops.sum(x, axis=1, keepdims=True), A.sum(1, keepdims=True)),
        (ops.maximum(x, 0.5), np.maximum(A, 0.5)),
        (x.reshape(-1, 2, 2), A.reshape(-1, 2, 2)),
        (ops.cast(row < x, "float32"), (row < A).astype("float32")),
        (ops.where(x > y, x, y), np.maximum(A, A[::-1])),
    ]
    for symbolic, expected in cases:
        model = Model([x, y], symbolic)
        got = model.predict([A, A[::-1]])
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)
        assert got.shape[1:] == symbolic.shape[1:] == model.output_shape[1:]
    assert ops.shape(x) == (None, 4)


def test_a_variable_in_an_expression_is_trained():
    x = fastnn.Input((4,))
    scale = fastnn.Variable(np.ones(4, "float32"), name="scale")
    model = Model(x, scale * x)
    assert [v.name for v in model.trainable_variables] == ["scale"]
    model.compile(fastnn.optimizers.SGD(0.1), "mse")
    model.fit(A, 3 * A, epochs=60, verbose=0)
    np.testing.assert_allclose(np.asarray(scale), 3.0, atol=0.1)


def test_what_has_no_data_says_so():
    x = fastnn.Input((4,), name="x")
    for use in (np.asarray, bool, float, list, len, lambda t: np.exp(t)):
        with pytest.raises(TypeError):
            use(x)
    with pytest.raises(TypeError, match="'x'> has no data"):
        np.asarray(x)
    assert repr(x) == "<SymbolicTensor shape=(None, 4) dtype=float32 from 'x'>"


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("Add", A + A[::-1] + 1),
        ("Multiply", A * A[::-1] * 1),
        ("Average", (A + A[::-1] + 1) / 3),
        ("Maximum", np.maximum(np.maximum(A, A[::-1]), 1)),
        ("Minimum", np.minimum(np.minimum(A, A[::-1]), 1)),
        ("Concatenate", np.hstack([A, A[::-1], np.ones_like(A)])),
    ],
)
def test_merging_layers(layer, expected):
    inputs = [A, A[::-1], np.ones_like(A)]
    eager = np.asarray(getattr(layers, layer)()(inputs))
    np.testing.assert_allclose(eager, expected, rtol=1e-6, atol=1e-6)
    symbols = [fastnn.Input((4,)) for _ in range(3)]
    model = Model(symbols, getattr(layers, layer.lower())(symbols))
    np.testing.assert_array_equal(model.predict(inputs), eager)


def test_merging_of_two_and_of_different_ranks():
    np.testing.assert_array_equal(np.asarray(layers.subtract([A, A[::-1]])), A - A[::-1])
    x = RNG.standard_normal((5, 3, 4)).astype("float32")
    y = RNG.standard_normal((5, 4)).astype("float32")
    np.testing.assert_array_equal(np.asarray(layers.Add()([x, y])), x + y[:, None])
    for value, pattern in (
        (A, "list of at least 1"),
        ([A, B], "broadcast"),
    ):
        with pytest.raises(ValueError, match=rf"Add 'add.*{pattern}"):
            layers.Add()(value)
    with pytest.raises(ValueError, match="list of 2 inputs, got 3"):
        layers.subtract([A, A, A])


def test_dot():
    x = RNG.standard_normal((5, 3, 4)).astype("float32")
    y = RNG.standard_normal((5, 2, 4)).astype("float32")
    v, w = x[:, 0], y[:, 0]
    for got, expected in (
        (layers.dot([v, w], axes=1), (v * w).sum(1, keepdims=True)),
        (layers.dot([x, y], axes=2), np.einsum("nik,njk->nij", x, y)),
        (layers.dot([x, v], axes=(2, 1)), np.einsum("nik,nk->ni", x, v)),
        (layers.dot([v, x], axes=(1, 2)), np.einsum("nik,nk->ni", x, v)),
        (layers.dot([x, x], axes=1), np.einsum("nki,nkj->nij", x, x)),
    ):
        np.testing.assert_allclose(np.asarray(got), expected, rtol=1e-5, atol=1e-5)
    cosine = np.asarray(layers.dot([v, 3 * v], axes=-1, normalize=True))
    np.testing.assert_allclose(cosine, 1.0, rtol=1e-5)
    with pytest.raises(ValueError, match="other than 0"):
        layers.Dot(0)


# ---- sharing and nesting


def test_the_gradient_of_a_shared_layer_is_the_sum():
    a, b = fastnn.Input((4,)), fastnn.Input((4,))
    shared = layers.Dense(3)
    both, one = Model([a, b], [shared(a), shared(b)]), Model(a, shared(a))
    assert both.count_params() == 15 and len(both.layers) == 3

    def gradient(model, x):
        with GradientTape() as tape:
            y = model(x)
            loss = sum(ops.sum(ops.square(part)) for part in (y if isinstance(y, list) else [y]))
        return np.asarray(tape.gradient(loss, shared.kernel))

    np.testing.assert_allclose(
        gradient(both, [A, A[::-1] * 2]), gradient(one, A) + gradient(one, A[::-1] * 2), rtol=1e-5
    )


def test_an_autoencoder_shares_weights_with_its_halves():
    image = fastnn.Input((16,), name="image")
    code = layers.Dense(4, activation="relu", name="code")(image)
    encoder = Model(image, code, name="encoder")
    z = fastnn.Input((4,), name="z")
    decoder = Model(z, layers.Dense(16, name="pixels")(z), name="decoder")
    autoencoder = Model(image, decoder(encoder(image)), name="autoencoder")
    assert autoencoder.count_params() == encoder.count_params() + decoder.count_params() == 148
    assert autoencoder.trainable_variables[0] is encoder.trainable_variables[0]
    x = RNG.standard_normal((200, 4)).astype("float32") @ RNG.standard_normal((4, 16))
    autoencoder.compile("adam", "mse")
    before = encoder.get_weights()[0]
    losses = autoencoder.fit(x, x, epochs=30, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    assert not np.array_equal(before, encoder.get_weights()[0])
    x = x.astype("float32")
    np.testing.assert_array_equal(decoder.predict(encoder.predict(x)), autoencoder.predict(x))
    lines = "\n".join(printed(autoencoder))
    assert "encoder (Functional)" in lines and "Total params: 148 (" in lines


def test_nested_models_and_freezing():
    base = Sequential([fastnn.Input((4,)), layers.Dense(5, name="inner")], name="base")
    base.trainable = False
    x = fastnn.Input((4,))
    model = Model(x, layers.Dense(2, name="head")(base(x)))
    assert [v.shape for v in model.trainable_variables] == [(5, 2), (2,)]
    model.compile("sgd", "mse")
    frozen = base.get_weights()
    model.fit(A, SIZE @ np.ones((1, 2)), verbose=0)
    for before, after in zip(frozen, base.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert Sequential([model, layers.Dense(1)]).predict(A).shape == (60, 1)


def test_training_flags_reach_the_layers():
    x = fastnn.Input((4,))
    drop = layers.Dropout(0.5)
    always, usual = Model(x, drop(x, training=True)), Model(x, drop(x))
    assert (np.asarray(always(A)) == 0).any()
    np.testing.assert_array_equal(np.asarray(usual(A)), A)
    assert (np.asarray(usual(A, training=True)) == 0).any()


def test_features_of_a_layer():
    model = two_by_two()
    features = Model(model.inputs, model.get_layer("joined").output)
    assert features.predict([A, B]).shape == (60, 16)
    assert features.input_names == ["a", "b"]
    heads = Model(model.get_layer("joined").output, model.outputs)  # the graph is cut there
    assert [layer.name for layer in heads.layers] == ["kind", "size"]
    for got, expected in zip(
        heads.predict(features.predict([A, B])), model.predict([A, B]), strict=True
    ):
        np.testing.assert_array_equal(got, expected)
    left = model.get_layer("left")
    assert left.input.name == "a" and left.output.shape == (None, 8)

    chain = Sequential([layers.Dense(5, input_shape=(4,), name="first"), layers.Dense(2)])
    first = Model(chain.input, chain.get_layer("first").output)
    np.testing.assert_array_equal(first.predict(A), np.asarray(chain.layers[0](A)))
    with pytest.raises(AttributeError, match="in no functional or built Sequential model"):
        _ = layers.Dense(2).output


def test_deep_chains_need_no_stack():
    x = y = fastnn.Input((1,))
    for _ in range(1500):
        y = y + 1.0
    np.testing.assert_array_equal(Model(x, y).predict(np.zeros((2, 1))), np.full((2, 1), 1500))


def test_integer_inputs_stay_integers():
    index = fastnn.Input((), dtype="int64")
    table = np.arange(12.0, dtype="float32").reshape(4, 3)
    model = Model(index, ops.take(table, index, axis=0))
    np.testing.assert_array_equal(model.predict(np.array([3, 0, 1])), table[[3, 0, 1]])


# ---- training


def test_losses_weights_and_metrics_by_output():
    model = compiled_two_by_two()
    history = model.fit([A, B], [KIND, SIZE], epochs=2, verbose=0, validation_split=0.2).history
    names = {"loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"}
    assert set(history) == names | {f"val_{name}" for name in names}
    logs = model.evaluate([A, B], [KIND, SIZE], verbose=0, return_dict=True)
    kind, size = model.predict([A, B])
    entropy = -np.log(kind[np.arange(60), KIND]).mean()
    np.testing.assert_allclose(logs["kind_loss"], entropy, rtol=1e-5)
    np.testing.assert_allclose(logs["size_loss"], ((size - SIZE) ** 2).mean(), rtol=1e-5)
    np.testing.assert_allclose(logs["loss"], logs["kind_loss"] + 0.5 * logs["size_loss"], rtol=1e-5)
    np.testing.assert_allclose(logs["kind_accuracy"], (kind.argmax(1) == KIND).mean())
    np.testing.assert_allclose(logs["size_mae"], np.abs(size - SIZE).mean(), rtol=1e-5)
    in_order = model.evaluate([A, B], [KIND, SIZE], verbose=0)
    assert model.metrics_names == ["loss", "kind_loss", "size_loss", "kind_accuracy", "size_mae"]
    assert in_order == [logs[name] for name in model.metrics_names]


@pytest.mark.parametrize("form", ["list", "dict", "tuple", "generator"])
def test_forms_of_data_train_alike(form):
    x, y = [A, B], [KIND, SIZE]
    if form == "dict":
        x, y = {"b": B, "a": A}, {"size": SIZE, "kind": KIND}
    elif form == "tuple":
        x, y = tuple(x), tuple(y)
    reference, model = compiled_two_by_two(), compiled_two_by_two()
    model.set_weights(reference.get_weights())
    reference.fit([A, B], [KIND, SIZE], batch_size=16, shuffle=False, verbose=0)
    if form == "generator":
        batches = (([A[i : i + 16], B[i : i + 16]], [KIND[i : i + 16], SIZE[i : i + 16]])
                   for i in range(0, 60, 16))  # fmt: skip
        model.fit(batches, verbose=0)
    else:
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0)
    for got, expected in zip(model.get_weights(), reference.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("loss", ["mse", ["mse", "mse"], {"kind": "mse", "size": "mse"}])
def test_one_loss_for_all_outputs_or_one_each(loss):
    model = compiled_two_by_two(loss=loss, loss_weights=[1.0, 2.0], metrics=None)
    y = [np.eye(3)[KIND], SIZE]
    logs = model.test_on_batch([A, B], y, return_dict=True)
    assert set(logs) == {"loss", "kind_loss", "size_loss"}
    np.testing.assert_allclose(logs["loss"], logs["kind_loss"] + 2 * logs["size_loss"], rtol=1e-5)


def test_an_output_without_a_loss():
    model = compiled_two_by_two(loss={"size": "mse"}, loss_weights=None, metrics=None)
    with pytest.warns(UserWarning, match="Gradients do not exist"):  # for the weights of the other
        logs = model.train_on_batch([A, B], {"size": SIZE}, return_dict=True)
    assert set(logs) == {"loss", "size_loss"} and logs["loss"] == logs["size_loss"]


def test_sample_and_class_weights_by_output():
    w = RNG.uniform(0.5, 2.0, 60)
    by_class = {0: 1.0, 1: 2.0, 2: 0.5}
    of_class = np.array([by_class[k] for k in KIND])

    def logs(model=None, **weights):
        model = compiled_two_by_two(loss_weights=None, metrics=None)
        model.set_weights(START)
        return model.train_on_batch([A, B], [KIND, SIZE], return_dict=True, **weights)

    START = two_by_two().get_weights()
    plain = logs()
    only_size = logs(sample_weight={"size": w})
    assert only_size["kind_loss"] == plain["kind_loss"]
    assert only_size["size_loss"] != plain["size_loss"]
    both = logs(sample_weight=w)
    assert both == logs(sample_weight=[w, w])
    assert logs(class_weight={"kind": by_class}) == logs(sample_weight=[of_class, np.ones(60)])
    with pytest.raises(ValueError, match=r"class_weight: expected 2 \(kind, size\)"):
        logs(class_weight=by_class)


def test_gradients_of_several_outputs():
    model = two_by_two("float64")
    model.compile("adam", ["sparse_categorical_crossentropy", "mse"], loss_weights=[1.0, 0.3])
    assert fastnn.gradcheck.check_gradients(model, [A, B], [KIND, SIZE]).ratio < 1e-7


def test_a_residual_net_learns():
    model = residual()
    model.compile(fastnn.optimizers.Adam(0.02), "mse")
    y = np.stack([IMAGES.mean((1, 2, 3)), IMAGES[:, 0, 0, 0]], axis=1)
    losses = model.fit(IMAGES, y, epochs=60, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


class TwoHeads(Model):
    def __init__(self):
        super().__init__()
        self.body = layers.Dense(6, activation="relu")
        self.first, self.second = layers.Dense(3), layers.Dense(1)

    def call(self, inputs):
        h = self.body(ops.concatenate([inputs["a"], inputs["b"]], axis=-1))
        return {"first": self.first(h), "second": self.second(h)}


def test_a_subclass_with_several_inputs_and_outputs():
    model = TwoHeads()
    model.compile("adam", {"first": "mse", "second": "mse"}, metrics={"second": ["mae"]})
    x, y = {"a": A, "b": B}, {"second": SIZE, "first": np.eye(3)[KIND]}
    history = model.fit(x, y, epochs=15, verbose=0).history
    assert set(history) == {"loss", "first_loss", "second_loss", "second_mae"}
    assert history["loss"][-1] < history["loss"][0]
    assert {name: out.shape for name, out in model.predict(x).items()} == {
        "first": (60, 3),
        "second": (60, 1),
    }


def test_a_subclass_made_of_a_graph():
    class Doubled(Model):
        def __init__(self):
            x = fastnn.Input((4,))
            self.dense = layers.Dense(2)
            super().__init__(inputs=x, outputs=self.dense(x) * 2)

    model = Doubled()
    assert model.count_params() == 10
    np.testing.assert_array_equal(model.predict(A), 2 * np.asarray(model.dense(A)))


def test_compiled_steps_give_the_bits_of_eager_ones():
    eager, recorded = compiled_two_by_two(run_eagerly=True), compiled_two_by_two()
    recorded.set_weights(eager.get_weights())
    for model in (eager, recorded):
        model.fit([A, B], [KIND, SIZE], epochs=3, batch_size=16, shuffle=False, verbose=0)
    for got, expected in zip(recorded.get_weights(), eager.get_weights(), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_placeholders_record_what_eager_runs():
    model = residual()
    with fastnn.Graph() as graph:
        y = model(graph.placeholder((None, 8, 8, 3)))
    assert y.shape == (None, 2)
    with fastnn.Graph(tracing=False) as eager:
        model(fastnn.Tensor(IMAGES))
    assert [node[0] for node in graph.nodes] == [node[0] for node in eager.nodes]


def test_x_is_never_copied_whole():
    from fastnn.training.data import make_data

    data = make_data({"a": A, "b": B}, KIND, batch_size=16)
    batch = next(iter(data.batches()))
    assert np.shares_memory(batch.x["a"], A) and np.shares_memory(batch.x["b"], B)


# ---- summary


def test_summary_of_a_graph():
    lines = printed(two_by_two())
    assert lines[0] == 'Model: "two_by_two"'
    rows = [line.split() for line in lines[4:11]]
    assert rows == [
        ["a", "(InputLayer)", "(None,", "4)", "0"],
        ["b", "(InputLayer)", "(None,", "3)", "0"],
        ["left", "(Dense)", "(None,", "8)", "40", "a[0][0]"],
        ["right", "(Dense)", "(None,", "8)", "32", "b[0][0]"],
        ["joined", "(Concatenate)", "(None,", "16)", "0", "left[0][0]"],
        ["right[0][0]"],
        ["kind", "(Dense)", "(None,", "3)", "51", "joined[0][0]"],
    ]
    assert lines[2].split()[-2:] == ["Connected", "to"]
    assert all(len(line) <= 98 for line in lines)
    assert "Total params: 140 (560.00 B)" in lines


def test_summary_of_a_chain_has_no_connections():
    """The lesson's 20x20x3 net with two convolutions, as a functional model."""
    x = fastnn.Input((20, 20, 3))
    y = layers.Conv2D(2, 3, padding="same", name="c1")(x)
    y = layers.Conv2D(3, 3, padding="same", name="c2")(y)
    model = Model(x, layers.Dense(2, name="d")(layers.Flatten(name="f")(y)))
    text = "\n".join(printed(model))
    assert "Connected" not in text and "Total params: 2,515 (" in text
    assert model.weights[0].shape == (3, 3, 3, 2)


def test_shared_layers_are_told_apart_by_call():
    a, b = fastnn.Input((4,), name="a"), fastnn.Input((4,), name="b")
    shared = layers.Dense(2, name="shared")
    lines = printed(Model([a, b], layers.Add(name="sum")([shared(a), shared(b)])))
    text = " ".join(" ".join(lines).split())
    assert "shared (Dense) (None, 2) 10 a[0][0] b[0][0]" in text
    assert "sum (Add) (None, 2) 0 shared[0][0] shared[1][0]" in text


# ---- lifetime


def test_dropped_models_are_freed():
    base = Sequential([fastnn.Input((4,)), layers.Dense(3)], name="kept")
    for _ in range(3):
        x = fastnn.Input((4,))
        head = layers.Dense(2)
        model = Model(x, head(base(x)))
        model.compile("adam", "mse")
        model.fit(A, A[:, :2], verbose=0)
        gone = [weakref.ref(thing) for thing in (model, head, head.kernel)]
        del x, head, model
        gc.collect()
        assert [ref() for ref in gone] == [None] * 3
    assert base.predict(A).shape == (60, 3)
    base(fastnn.Input((4,)))
    assert len(base._calls) == 1  # calls of models that are gone are forgotten


def test_symbolic_graphs_have_no_cycles():
    gc.disable()
    try:
        x = fastnn.Input((4,))
        dense = layers.Dense(2)
        y = ops.relu(dense(x)) + 1.0
        gone = [weakref.ref(dense), weakref.ref(x.call), weakref.ref(y.call)]
        del x, y, dense
        assert [ref() for ref in gone] == [None] * 3
    finally:
        gc.enable()


# ---- bad input


def two_named(name):
    x = fastnn.Input((4,))
    return x, layers.Add()([layers.Dense(2, name=name)(x), layers.Dense(2, name=name)(x)])


def unconnected():
    a, b = fastnn.Input((4,), name="a"), fastnn.Input((4,), name="b")
    return Model(a, a + b)


def twice():
    a = fastnn.Input((4,))
    return Model([a, a], a * 2)


def within_itself():
    model = Sequential([layers.Dense(2)])
    model.add(Sequential([model]))


BAD = {
    "disconnected": (unconnected, ValueError, r"need the input 'b', .* not among the inputs \['a'\]"),
    "names": (lambda: Model(*two_named("same")), ValueError, "2 named 'same' .*Dense, Dense"),
    "input twice": (twice, ValueError, "one twice"),
    "cycle": (within_itself, ValueError, "cannot be a layer of itself"),
    "outputs": (lambda: Model(fastnn.Input((4,)), A), TypeError, "outputs: expected what"),
    "no outputs": (lambda: Model(fastnn.Input((4,)), []), ValueError, "outputs: .* at least one"),
    "inputs only": (lambda: Model(fastnn.Input((4,))), TypeError, "both inputs and outputs"),
    "one of two": (lambda: two_by_two()(A), ValueError, r"'two_by_two': .* 2 \(a, b\), got one"),
    "three of two": (lambda: two_by_two()([A, B, B]), ValueError, r"2 \(a, b\), got 3"),
    "a name": (lambda: two_by_two()({"a": A, "c": B}), ValueError, r"got a dict of \['a', 'c'\]"),
    "a shape": (lambda: two_by_two()([A, A]), ValueError, r"input 'b' of shape \(None, 3\)"),
    "predict one": (lambda: two_by_two().predict(A), ValueError, r"x: expected 2 \(a, b\)"),
    "predict shape": (lambda: two_by_two().predict([A, A]), ValueError, r"x\['b'\]: .*\(N, 3\)"),
    "rows": (lambda: two_by_two().predict([A, B[:5]]), ValueError, r"x\[1\] has 5"),
    "one y": (lambda: compiled_two_by_two().fit([A, B], KIND), ValueError, r"y: expected 2 \(kind"),
    "labels": (
        lambda: compiled_two_by_two().fit([A, B], [KIND + 1, SIZE]),
        ValueError,
        r"y\['kind'\]: expected integer labels 0\.\.2, got 3",
    ),
    "no y": (
        lambda: compiled_two_by_two().fit([A, B], {"kind": KIND}),
        ValueError,
        "targets for the loss of output 'size'",
    ),
    "loss name": (lambda: compiled_two_by_two(loss={"kin": "mse"}), ValueError, r"dict of \['kin'\]"),
    "losses": (lambda: compiled_two_by_two(loss=["mse"] * 3), ValueError, "loss: expected 2"),
    "weights": (lambda: compiled_two_by_two(loss_weights=2.0), ValueError, "loss_weights: expected"),
    "metrics": (lambda: compiled_two_by_two(metrics=["mae"]), ValueError, "metrics: expected 2"),
    "both shapes": (lambda: fastnn.Input((4,), batch_shape=(1, 4)), ValueError, "only one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    act, kind, pattern = BAD[name]
    with pytest.raises(kind, match=pattern):
        act()
