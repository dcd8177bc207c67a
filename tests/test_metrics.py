"""Metrics against scikit-learn's, over several batches, eagerly and recorded."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as oracle

import fastnn
from fastnn import losses, metrics

RNG = np.random.default_rng(3)
N, CLASSES = 90, 4
LABELS = RNG.integers(0, CLASSES, N)
ONE_HOT = np.eye(CLASSES)[LABELS]
SCORES = RNG.dirichlet(np.ones(CLASSES), N)
BINARY = RNG.integers(0, 2, N)
CHANCES = np.clip(0.35 * BINARY + 0.65 * RNG.random(N), 0.001, 0.999)
TARGETS = RNG.standard_normal((N, 2))
GUESSES = TARGETS + 0.5 * RNG.standard_normal((N, 2))
WEIGHTS = RNG.uniform(0, 2, N)
SAID = SCORES.argmax(-1)
YES = CHANCES > 0.5


def _f1(average):
    return lambda w: oracle.f1_score(LABELS, SAID, average=average, sample_weight=w)


def _top2(w):
    return oracle.top_k_accuracy_score(LABELS, SCORES, k=2, sample_weight=w)


CASES = {
    "Accuracy": (
        metrics.Accuracy,
        LABELS,
        SAID.astype(float),
        lambda w: oracle.accuracy_score(LABELS, SAID, sample_weight=w),
    ),
    "BinaryAccuracy": (
        metrics.BinaryAccuracy,
        BINARY,
        CHANCES,
        lambda w: oracle.accuracy_score(BINARY, YES, sample_weight=w),
    ),
    "BinaryAccuracy 0.7": (
        lambda: metrics.BinaryAccuracy(threshold=0.7),
        BINARY[:, None],
        CHANCES[:, None],
        lambda w: oracle.accuracy_score(BINARY, CHANCES > 0.7, sample_weight=w),
    ),
    "CategoricalAccuracy": (
        metrics.CategoricalAccuracy,
        ONE_HOT,
        SCORES,
        lambda w: oracle.accuracy_score(LABELS, SAID, sample_weight=w),
    ),
    "SparseCategoricalAccuracy": (
        metrics.SparseCategoricalAccuracy,
        LABELS,
        SCORES,
        lambda w: oracle.accuracy_score(LABELS, SAID, sample_weight=w),
    ),
    "SparseCategoricalAccuracy column": (
        metrics.SparseCategoricalAccuracy,
        LABELS[:, None].astype("f4"),
        SCORES,
        lambda w: oracle.accuracy_score(LABELS, SAID, sample_weight=w),
    ),
    "TopK": (lambda: metrics.TopKCategoricalAccuracy(k=2), ONE_HOT, SCORES, _top2),
    "SparseTopK": (lambda: metrics.SparseTopKCategoricalAccuracy(k=2), LABELS, SCORES, _top2),
    "Precision": (
        metrics.Precision,
        BINARY,
        CHANCES,
        lambda w: oracle.precision_score(BINARY, YES, sample_weight=w),
    ),
    "Recall": (
        metrics.Recall,
        BINARY[:, None],
        CHANCES[:, None],
        lambda w: oracle.recall_score(BINARY, YES, sample_weight=w),
    ),
    "Precision class": (
        lambda: metrics.Precision(class_id=1, top_k=1),
        ONE_HOT,
        SCORES,
        lambda w: oracle.precision_score(LABELS == 1, SAID == 1, sample_weight=w),
    ),
    "Recall thresholds": (
        lambda: metrics.Recall(thresholds=[0.2, 0.8]),
        BINARY,
        CHANCES,
        lambda w: [oracle.recall_score(BINARY, t < CHANCES, sample_weight=w) for t in (0.2, 0.8)],
    ),
    "F1": (metrics.F1Score, ONE_HOT, SCORES, _f1(None)),
    "F1 macro": (lambda: metrics.F1Score(average="macro"), ONE_HOT, SCORES, _f1("macro")),
    "F1 micro": (lambda: metrics.F1Score(average="micro"), ONE_HOT, SCORES, _f1("micro")),
    "F1 weighted": (lambda: metrics.F1Score(average="weighted"), ONE_HOT, SCORES, _f1("weighted")),
    "F1 binary": (
        lambda: metrics.F1Score(average="macro"),
        BINARY,
        CHANCES,
        lambda w: oracle.f1_score(BINARY, YES, sample_weight=w),
    ),
    "MeanSquaredError": (
        metrics.MeanSquaredError,
        TARGETS,
        GUESSES,
        lambda w: oracle.mean_squared_error(TARGETS, GUESSES, sample_weight=w),
    ),
    "RootMeanSquaredError": (
        metrics.RootMeanSquaredError,
        TARGETS,
        GUESSES,
        lambda w: np.sqrt(oracle.mean_squared_error(TARGETS, GUESSES, sample_weight=w)),
    ),
    "MeanAbsoluteError": (
        metrics.MeanAbsoluteError,
        TARGETS,
        GUESSES,
        lambda w: oracle.mean_absolute_error(TARGETS, GUESSES, sample_weight=w),
    ),
    "R2Score": (
        metrics.R2Score,
        TARGETS,
        GUESSES,
        lambda w: oracle.r2_score(TARGETS, GUESSES, sample_weight=w),
    ),
    "R2Score weighted": (
        lambda: metrics.R2Score(class_aggregation="variance_weighted_average"),
        TARGETS,
        GUESSES,
        lambda w: oracle.r2_score(
            TARGETS, GUESSES, sample_weight=w, multioutput="variance_weighted"
        ),
    ),
    "R2Score each": (
        lambda: metrics.R2Score(class_aggregation=None),
        TARGETS,
        GUESSES,
        lambda w: oracle.r2_score(TARGETS, GUESSES, sample_weight=w, multioutput="raw_values"),
    ),
    "BinaryCrossentropy": (
        metrics.BinaryCrossentropy,
        BINARY,
        CHANCES[:, None],
        lambda w: oracle.log_loss(BINARY, CHANCES, sample_weight=w),
    ),
    "CategoricalCrossentropy": (
        metrics.CategoricalCrossentropy,
        ONE_HOT,
        SCORES,
        lambda w: oracle.log_loss(LABELS, SCORES, sample_weight=w),
    ),
    "SparseCategoricalCrossentropy": (
        metrics.SparseCategoricalCrossentropy,
        LABELS,
        SCORES,
        lambda w: oracle.log_loss(LABELS, SCORES, sample_weight=w),
    ),
    "ConfusionMatrix": (
        metrics.ConfusionMatrix,
        LABELS,
        SCORES,
        lambda w: oracle.confusion_matrix(LABELS, SAID, sample_weight=w),
    ),
    "ConfusionMatrix one-hot": (
        metrics.ConfusionMatrix,
        ONE_HOT,
        SCORES,
        lambda w: oracle.confusion_matrix(LABELS, SAID, sample_weight=w),
    ),
    "ConfusionMatrix indices": (
        lambda: metrics.ConfusionMatrix(num_classes=CLASSES),
        LABELS,
        SAID,
        lambda w: oracle.confusion_matrix(LABELS, SAID, sample_weight=w),
    ),
    "ConfusionMatrix binary": (
        lambda: metrics.ConfusionMatrix(num_classes=2),
        BINARY,
        CHANCES[:, None],
        lambda w: oracle.confusion_matrix(BINARY, YES, sample_weight=w),
    ),
    # So many thresholds that hardly two scores share a bin: the counted curve is the exact one.
    "AUC": (
        lambda: metrics.AUC(num_thresholds=20001),
        BINARY,
        CHANCES,
        lambda w: oracle.roc_auc_score(BINARY, CHANCES, sample_weight=w),
    ),
}


def batches(*arrays):
    for rows in (slice(0, 40), slice(40, 41), slice(41, N)):
        yield [a[rows] for a in arrays]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_is_scikit_learns(name, weighted):
    make, y_true, y_pred, expected = CASES[name]
    metric = make()
    if weighted:
        for t, p, w in batches(y_true, y_pred, WEIGHTS):
            # A vector of predictions is a column of rows with one value each.
            metric.update_state(t, p, sample_weight=w)
    else:
        for t, p in batches(y_true, y_pred):
            metric.update_state(t, p)
    tolerance = 1e-4 if name == "AUC" else 1e-10
    np.testing.assert_allclose(
        metric.result(), expected(WEIGHTS if weighted else None), rtol=tolerance
    )
    metric.reset_state()
    assert not np.any(metric.result())
    assert all(not v.trainable for v in metric.variables)


@pytest.mark.parametrize("name", CASES)
def test_update_records_on_placeholders(name):
    make, y_true, y_pred, _ = CASES[name]
    eager_metric, metric = make(), make()
    with fastnn.Graph(tracing=False) as eager:
        eager_metric.update_state(
            fastnn.Tensor(y_true), fastnn.Tensor(y_pred), fastnn.Tensor(WEIGHTS)
        )
    graph = fastnn.Graph()
    with graph:
        metric.update_state(
            graph.placeholder((None, *y_true.shape[1:]), y_true.dtype.name),
            graph.placeholder((None, *y_pred.shape[1:]), y_pred.dtype.name),
            graph.placeholder((None,), "float64"),
        )
    assert [n[0] for n in graph.nodes] == [n[0] for n in eager.nodes]
    assert not np.any(metric.result())


def test_mean_and_sum():
    mean, total = metrics.Mean(), metrics.Sum()
    for values, w in (([1.0, 2.0], [1.0, 3.0]), (5.0, 2.0)):
        mean.update_state(values, sample_weight=w)
        total.update_state(values, sample_weight=w)
    assert mean.result() == 17 / 6
    assert total.result() == 17
    assert metrics.Mean().result() == 0
    assert metrics.Mean()([2.0, 4.0]) == 3


def test_float32_batches_are_counted_exactly():
    metric = metrics.Mean()
    metric.total.assign(2.0**30)
    metric.count.assign(2.0**30)
    metric.update_state(np.ones(1, "f4"))
    assert float(metric.count) == 2.0**30 + 1


def test_auc_by_hand():
    t, p = [0, 0, 1, 1], [0.0, 0.5, 0.3, 0.9]
    for kwargs, expected in (
        ({}, 0.75),  # the figures of Keras's documentation, num_thresholds=3
        ({"curve": "PR", "summation_method": "majoring"}, 1.0),
    ):
        metric = metrics.AUC(num_thresholds=3, **kwargs)
        metric.update_state(t, p)
        assert metric.result() == pytest.approx(expected, abs=1e-6)
    pr = metrics.AUC(num_thresholds=20001, curve="PR", summation_method="minoring")
    pr.update_state(BINARY, CHANCES)
    low = pr.result()
    pr = metrics.AUC(num_thresholds=20001, curve="PR", summation_method="majoring")
    pr.update_state(BINARY, CHANCES)
    high = pr.result()
    pr = metrics.AUC(num_thresholds=20001, curve="PR")
    pr.update_state(BINARY, CHANCES)
    assert low < pr.result() < high
    assert high == pytest.approx(oracle.average_precision_score(BINARY, CHANCES), rel=1e-12)
    logits = metrics.AUC(from_logits=True)
    logits.update_state(BINARY, np.log(CHANCES / (1 - CHANCES)))
    plain = metrics.AUC()
    plain.update_state(BINARY, CHANCES)
    assert logits.result() == pytest.approx(plain.result(), abs=1e-12)


def test_adjusted_r2():
    metric = metrics.R2Score(num_regressors=3)
    metric.update_state(TARGETS[:, 0], GUESSES[:, 0])
    r2 = oracle.r2_score(TARGETS[:, 0], GUESSES[:, 0])
    assert metric.result() == pytest.approx(1 - (1 - r2) * (N - 1) / (N - 4))


@pytest.mark.parametrize(
    ("loss", "y_true", "y_pred", "accuracy", "crossentropy"),
    [
        (
            "binary_crossentropy",
            (None,),
            (None, 1),
            metrics.BinaryAccuracy,
            metrics.BinaryCrossentropy,
        ),
        ("mse", (None, 1), (None, 1), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        ("binary_crossentropy", (8,), (8,), metrics.BinaryAccuracy, metrics.BinaryCrossentropy),
        (
            losses.SparseCategoricalCrossentropy(),
            (None,),
            (None, 3),
            metrics.SparseCategoricalAccuracy,
            metrics.SparseCategoricalCrossentropy,
        ),
        (
            None,
            (None, 1),
            (None, 3),
            metrics.SparseCategoricalAccuracy,
            metrics.SparseCategoricalCrossentropy,
        ),
        ("mse", (None, 3), (None, 3), metrics.CategoricalAccuracy, metrics.CategoricalCrossentropy),
    ],
)
def test_resolve(loss, y_true, y_pred, accuracy, crossentropy):
    for name, cls in (
        ("accuracy", accuracy),
        ("acc", accuracy),
        ("crossentropy", crossentropy),
        ("ce", crossentropy),
    ):
        metric = metrics.resolve(name, loss, y_true, y_pred)
        assert type(metric) is cls
        assert metric.name == name
    assert type(metrics.resolve("mae", loss, y_true, y_pred)) is metrics.MeanAbsoluteError


@pytest.mark.parametrize("metric", [make() for make, *_ in CASES.values()], ids=list(CASES))
def test_config_makes_the_same_metric(metric):
    again = metrics.get(metrics.serialize(metric))
    assert type(again) is type(metric)
    assert again.get_config() == metric.get_config()


def test_get():
    assert metrics.get("mse").name == "mean_squared_error"
    assert metrics.get("logcosh").name == "log_cosh"
    assert metrics.get(None) is None
    own = metrics.get(losses.poisson)
    assert own.name == "poisson"
    assert own([[1.0]], [[1.0]]) == pytest.approx(1, abs=1e-6)
    with pytest.raises(ValueError, match="'binary_accuracy'"):
        metrics.get("binary_acuracy")
    with pytest.raises(TypeError, match="metric"):
        metrics.get(3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: metrics.Precision(thresholds=2.0), "thresholds"),
        (lambda: metrics.Recall(top_k=0), "top_k"),
        (lambda: metrics.TopKCategoricalAccuracy(k=0), "k >= 1"),
        (lambda: metrics.AUC(curve="roc"), "curve"),
        (lambda: metrics.AUC(summation_method="sum"), "summation_method"),
        (lambda: metrics.AUC(num_thresholds=1), "num_thresholds"),
        (lambda: metrics.AUC(thresholds=[-1.0]), "thresholds"),
        (lambda: metrics.F1Score(average="mean"), "average"),
        (lambda: metrics.R2Score(class_aggregation="mean"), "class_aggregation"),
        (lambda: metrics.R2Score(num_regressors=-1), "num_regressors"),
        (lambda: metrics.ConfusionMatrix(num_classes=1), "num_classes"),
        (lambda: metrics.ConfusionMatrix().update_state(LABELS, SAID), "num_classes"),
        (lambda: metrics.F1Score().update_state(ONE_HOT[None], SCORES[None]), "F1Score"),
        (lambda: metrics.CategoricalAccuracy().update_state(LABELS, SCORES), "to_categorical"),
        (lambda: metrics.SparseCategoricalAccuracy().update_state(ONE_HOT, SCORES), "one-hot"),
        (lambda: metrics.MeanSquaredError().update_state(TARGETS[:5], GUESSES), "shape"),
        (
            lambda: metrics.MeanSquaredError().update_state(TARGETS, GUESSES, np.ones(3)),
            "sample_weight",
        ),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
