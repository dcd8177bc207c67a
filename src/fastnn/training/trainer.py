"""Trainer: compile, fit, evaluate and predict for anything that is called like a layer."""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn import _core, ops, optimizers
from fastnn._core import Graph, Tensor
from fastnn._structure import (
    flat_shapes,
    flatten,
    is_nested,
    map_shapes,
    map_structure,
    names_of,
    rebuild,
)
from fastnn.callbacks import CallbackList, History, TerminateOnNaN
from fastnn.layers.base import Layer
from fastnn.layers.context import CallContext
from fastnn.losses import SparseCategoricalCrossentropy
from fastnn.random import SeedGenerator
from fastnn.recorded import Recorded, naming_ops, runs_eagerly, scope
from fastnn.tape import GradientTape
from fastnn.training.compiled import (
    NOT_FINITE,
    CompiledLoss,
    CompiledMetrics,
    warn_without_effect,
)
from fastnn.training.data import (
    BATCH_SIZE,
    ArrayData,
    Batch,
    Data,
    Ends,
    EpochIterator,
    InputSpec,
    check_count,
    labelled,
    make_data,
    not_finite,
)
from fastnn.training.interrupt import interrupts_wait
from fastnn.training.progress import Progress

if TYPE_CHECKING:
    from fastnn.training.profile import Profile

Logs = dict[str, float]

_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end")
# Seconds that C++ trains without a look at signals and the progress bar.
_STRETCH = 0.02


class Trainer(Layer):
    """A layer that can be compiled, fitted, evaluated and asked to predict."""

    _unnoted = frozenset({"history", "stop_training"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.optimizer: Any = None
        self.run_eagerly = False
        self.stop_training = False
        self._compiled_loss: CompiledLoss | None = None
        self._compiled_metrics: CompiledMetrics | None = None
        self._shuffler = SeedGenerator()
        self._training_lock = threading.RLock()
        self._release = _Release(self._training_lock)
        self._data_ends, self._ends_at = Ends(), -1  # as of that count of changes
        self._spec: InputSpec | None = None
        arenas = _core.Arenas()
        self._train_program = Recorded(self.train_step, self._step_version, arenas=arenas)
        self._test_program = Recorded(self.test_step, self._step_version, arenas=arenas)
        self._predict_program = Recorded(
            self.predict_step, self._step_version, any_rows=True, arenas=arenas
        )

    # ---- what a model provides

    def build_for(self, shape: Any) -> None:
        """Create the weights for inputs of this shape, or these shapes."""
        raise NotImplementedError

    @property
    def batch_input_shape(self) -> Any:
        """The shape or shapes of the input with None for the batch, if known."""
        raise NotImplementedError

    @property
    def input_dtypes(self) -> list[Any] | None:
        """The dtype of each input, if it may differ from the model's."""
        return None

    @property
    def input_names(self) -> list[str] | None:
        return None

    @property
    def output_names(self) -> list[str] | None:
        return None

    # ---- compile

    def compile(
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        auto_scale_loss: bool = True,
    ) -> None:
        """Choose how to train.

        Args:
            optimizer: name or object. Default `"rmsprop"`.
            loss: name, function or object; for several outputs a list or a dict by output name, else all have it.
            loss_weights: a factor for the loss, or a list or dict of them.
            metrics: list of names, functions or objects; `"accuracy"` is resolved by the shapes of y and ŷ. For
                several outputs a list of such lists or a dict by output name.
            weighted_metrics: the same, weighted by sample or class weights.
            run_eagerly: every step runs eagerly.
            steps_per_execution, jit_compile, auto_scale_loss: accepted for Keras's sake; they have no effect.
        """
        for name, value, neutral in (
            ("steps_per_execution", steps_per_execution, (1,)),
            ("jit_compile", jit_compile, ("auto", False)),
            ("auto_scale_loss", auto_scale_loss, (True,)),
        ):
            if value not in neutral:
                warn_without_effect(name, value)
        names = self.output_names
        compiled_loss = CompiledLoss(loss, loss_weights, names)
        compiled_metrics = CompiledMetrics(loss, metrics, weighted_metrics, names)
        self.optimizer = optimizers.get(optimizer)
        self._compiled_loss, self._compiled_metrics = compiled_loss, compiled_metrics
        self.run_eagerly = run_eagerly

    @property
    def loss(self) -> Any:
        return None if self._compiled_loss is None else self._compiled_loss.function

    @property
    def metrics(self) -> list[Any]:
        """The mean loss and the metrics, as far as they are resolved."""
        if self._compiled_loss is None or self._compiled_metrics is None:
            return []
        return [*self._compiled_loss.metrics, *self._compiled_metrics.metrics]

    @property
    def metrics_names(self) -> list[str]:
        return [metric.name for metric in self.metrics]

    def reset_metrics(self) -> None:
        for metric in self.metrics:
            metric.reset_state()

    def _compiled(self, caller: str) -> tuple[CompiledLoss, CompiledMetrics]:
        if self._compiled_loss is None or self._compiled_metrics is None:
            raise RuntimeError(
                f"{caller}: model '{self.name}' has no optimizer and loss yet; call compile(optimizer=, loss=) first"
            )
        return self._compiled_loss, self._compiled_metrics

    # ---- the steps: functions of tensors, made of ops

    def train_step(self, x: Any, y: Any, sample_weight: Any) -> None:
        """One step: compute loss, gradients and metrics, then commit every write. It happens whole or not at all."""
        loss_of, _ = self._compiled("train_step")
        variables = self.trainable_variables
        with CallContext(training=True) as context:
            with GradientTape() as tape:
                y_pred = self(x)
                with scope("loss"):
                    loss = loss_of(y, y_pred, sample_weight, self.losses)
                    loss_of.refuse_what_is_not_finite(loss)
            with scope("gradient"):
                gradients = self._ready(tape.gradient(loss, variables))
        with interrupts_wait():
            with scope("metrics"):
                self._update_metrics(y, y_pred, sample_weight, loss, context)
            with scope("optimizer"):
                if variables:
                    self.optimizer.apply(gradients, variables)
                context.commit()
                self.apply_constraints()

    def gradients_ready(self, flat: Tensor) -> Tensor:
        """The gradient of a step, between computing and committing it; override it to change the gradient.

        It is the one point at which a step has been computed and nothing has been written: the place to clip, scale,
        add noise, or sum over processes (in a `fastnn.py_function`). An error raised here refuses the step.

        Args:
            flat: the gradients of the trainable variables, in their order, as one vector; one call per dtype, without
                variables that the loss does not depend on.
        Returns: what the optimizer shall take instead, of the same shape and dtype.
        """
        return flat

    def _ready(self, gradients: list[Tensor | None]) -> list[Tensor | None]:
        if getattr(self.gradients_ready, "__func__", None) is Trainer.gradients_ready:
            return gradients
        by_dtype: dict[Any, list[tuple[int, Tensor]]] = {}
        for i, gradient in enumerate(gradients):
            if gradient is not None:
                by_dtype.setdefault(gradient.dtype, []).append((i, gradient))
        ready = list(gradients)
        for numbered in by_dtype.values():
            given = [gradient for _, gradient in numbered]
            flat = ops.concatenate([ops.reshape(g, (-1,)) for g in given])
            changed = self.gradients_ready(flat)
            if not isinstance(changed, Tensor) or (changed.shape, changed.dtype) != (
                flat.shape,
                flat.dtype,
            ):
                came = (
                    f"shape {changed.shape} and dtype {changed.dtype}"
                    if isinstance(changed, Tensor)
                    else type(changed).__name__
                )
                raise ValueError(
                    f"gradients_ready: expected it to return a tensor of shape {flat.shape} and dtype {flat.dtype}, "
                    f"got {came}"
                )
            ends = np.cumsum([g.size for g in given])
            parts = ops.split(changed, ends[:-1].tolist())
            for (i, gradient), part in zip(numbered, parts, strict=True):
                ready[i] = ops.reshape(part, gradient.shape)
        return ready

    def test_step(self, x: Any, y: Any, sample_weight: Any) -> None:
        """Loss and metrics of a batch, in inference mode."""
        loss_of, _ = self._compiled("test_step")
        with CallContext(training=False) as context:
            y_pred = self(x)
            loss = loss_of(y, y_pred, sample_weight, self.losses)
            self._update_metrics(y, y_pred, sample_weight, loss, context)

    def predict_step(self, x: Any) -> Any:
        """The outputs for a batch, in inference mode."""
        with CallContext(training=False):
            return self(x)

    def _step_version(self) -> Hashable:
        """What the steps depend on besides their batch."""
        parts = [*self._flat(), self.optimizer, *flatten(self.loss), *self.metrics]
        return (
            tuple((id(part), getattr(part, "_version", 0)) for part in parts),
            tuple(id(variable) for variable in self.trainable_variables),
        )

    def _run_train_step(self, batch: Batch) -> None:
        if self.run_eagerly:
            self.train_step(*batch.parts())
            return
        self._train_program(*batch.parts())

    def _run_test_step(self, batch: Batch) -> None:
        step = self.test_step if self.run_eagerly else self._test_program
        step(*batch.parts())

    def _run_predict_step(self, x: Any) -> Any:
        step = self.predict_step if self.run_eagerly else self._predict_program
        return map_structure(np.asarray, step(x))

    def _run_checked(
        self, program: Recorded, given: tuple[Any, ...], before: Callable[[], object] | None = None
    ) -> Any:
        """The results as arrays for arguments as they were given, if some like them have been checked and run before;
        else NotImplemented. This is what keeps a call with a small batch short."""
        return NotImplemented if self.run_eagerly else program.run_checked(given, before)

    def _accept(self, program: Recorded, given: tuple[Any, ...], batch: tuple[Any, ...]) -> None:
        """Let the next arguments like these go without the checks, which look at shapes and dtypes only; where they
        look at values, or put the arrays of a structure in order, nothing is done."""
        _, y, weight = (*given, None, None)[:3]
        labels = self._spec is not None and any(self._spec.classes)
        by_value = weight is not None or (labels and getattr(y, "dtype", np.dtype(int)).kind == "f")
        as_given = all(a is b for a, b in zip(flatten(given), flatten(batch), strict=False))
        if not self.run_eagerly and not by_value and (as_given or not any(map(is_nested, given))):
            program.accept(given, batch)

    def _update_metrics(
        self, y: Any, y_pred: Any, sample_weight: Any, loss: Tensor, context: CallContext
    ) -> None:
        loss_of, metrics = self._compiled("update")
        if y is not None:
            metrics.update(y, y_pred, sample_weight)
        # The mean over samples: a short last batch counts by its size.
        loss_of.update_means(loss, context.output_losses, flatten(y_pred)[0].shape[0])

    def _logs(self, prefix: str = "") -> Logs:
        return {
            prefix + m.name: float(m.result()) for m in sorted(self.metrics, key=lambda m: m.name)
        }

    # ---- fit

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Sequence[Any] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        on_nan: str | None = None,
    ) -> History:
        """Train for `epochs - initial_epoch` passes over the data.

        Args:
            x: array of samples, or an iterable of (x, y[, sample_weight]) batches. Never copied whole.
            y: targets, one row per sample.
            batch_size: samples per step; the last batch may be smaller. Default 32.
            epochs: the number of the last epoch. Default `1`.
            verbose: 0 nothing, 1 (`"auto"`) a bar, 2 a line per epoch.
            callbacks: list of Callback objects.
            validation_split: the share of the *last* rows, before shuffling, that are not trained on but evaluated.
            validation_data: (x, y), (x, y, sample_weight) or an iterable of such batches, evaluated after each epoch.
            shuffle: whether rows are drawn in a new order each epoch.
            class_weight: dict of weights by class, or `"balanced"`.
            sample_weight: one weight per row (per row and step for sequences).
            initial_epoch: the number of the first epoch. Default `0`.
            steps_per_epoch: how many batches make an epoch. Default: all.
            validation_steps, validation_batch_size: the same for validation.
            validation_freq: validate every so many epochs, or at the end of the epochs listed (the first is 1).
            on_nan: what to do about a step whose loss is NaN or infinite. `"raise"` and `"stop"` refuse it: weights,
                optimizer and moving averages stay as before the step, and a FloatingPointError, or a warning and the
                end of the training, names epoch, step and the first layer or op whose values were not finite.
                `"ignore"` goes on, as Keras does. Default: `"raise"`, as no weight recovers from a NaN; `"ignore"` if
                a TerminateOnNaN is among the callbacks.
        Returns: a History; `.history` maps "loss", each metric and their "val_" twins to one number per epoch.
        Raises: RuntimeError before `compile`, and while another thread trains this model; ValueError or TypeError for
            data that do not fit, with all weights as they were; FloatingPointError as `on_nan` says.
        """
        compiled_loss, _ = self._compiled("fit")
        epochs = check_count("epochs", epochs, low=0)
        initial_epoch = check_count("initial_epoch", initial_epoch, low=0)
        verbose = _verbosity(verbose)
        callbacks = _callback_list(callbacks)
        if on_nan is None:
            watched = any(isinstance(callback, TerminateOnNaN) for callback in callbacks)
            on_nan = "ignore" if watched else "raise"
        if on_nan not in ("raise", "stop", "ignore"):
            raise ValueError(f"on_nan: expected 'raise', 'stop' or 'ignore', got {on_nan!r}")
        if isinstance(validation_freq, int):
            check_count("validation_freq", validation_freq)
        data = make_data(x, y, sample_weight, class_weight, batch_size, self._ends_of_data)
        validation: Data | None = None
        if validation_data is not None:
            validation = _validation_data(
                validation_data, validation_batch_size or batch_size, self._ends_of_data
            )
            if isinstance(validation, ArrayData):
                self._check_targets("validation_data", validation)
        elif validation_split:
            if not isinstance(data, ArrayData):
                raise ValueError(
                    "validation_split: expected x to be an array, got an iterable of batches"
                )
            data, validation = data.split(validation_split)
        if isinstance(data, ArrayData) and len(data) == 0:
            raise ValueError("x: expected at least one sample, got 0 samples")

        with self._alone("fit"), compiled_loss.guard(on_nan != "ignore"):
            batches = EpochIterator(
                data, self._prepare, steps_per_epoch, self._shuffler if shuffle else None
            )
            held_out = (
                None
                if validation is None
                else EpochIterator(validation, self._prepare, validation_steps)
            )
            history = History()
            params = {"verbose": verbose, "epochs": epochs, "steps": batches.steps}
            listeners = CallbackList([history, *callbacks], self, params)
            self.history = history
            self.stop_training = False
            listeners.call("on_train_begin", {})
            logs: Logs = {}
            for epoch in range(initial_epoch, epochs):
                listeners.call("on_epoch_begin", epoch, {})
                if verbose:
                    print(f"Epoch {epoch + 1}/{epochs}", flush=True)
                progress = Progress(verbose, batches.steps)
                self.reset_metrics()
                steps = self._train_epoch(batches, listeners, progress, epoch, on_nan)
                logs = self._logs() if steps else dict.fromkeys(self._logs(), math.nan)
                if held_out is not None and _due(validation_freq, epoch):
                    held_out.restart()
                    logs |= self._evaluate(held_out, listeners, None, "val_")
                listeners.call("on_epoch_end", epoch, logs)
                progress.finish(steps, logs)
                if self.stop_training:
                    break
            listeners.call("on_train_end", logs)
        return history

    def _train_epoch(
        self,
        batches: EpochIterator,
        listeners: CallbackList,
        progress: Progress,
        epoch: int,
        on_nan: str,
    ) -> int:
        step = 0
        before = int(self.optimizer.iterations)
        arrays, batch = None, None
        try:
            if not self.run_eagerly and not runs_eagerly() and not listeners.listens(*_BATCH_HOOKS):
                arrays = batches.arrays()
            if arrays is not None:
                return self._train_arrays(batches, *arrays, progress)
            for batch in batches.epoch():
                listeners.call_batch("on_train_batch_begin", step, dict)
                self._run_train_step(batch)
                listeners.call_batch("on_train_batch_end", step, self._logs)
                step += 1
                progress.update(step, self._logs)
                if self.stop_training:
                    break
        except Exception as error:
            done = max(step, int(self.optimizer.iterations) - before)
            if isinstance(error, FloatingPointError) and str(error) == NOT_FINITE:
                refused = batch if arrays is None else batches.batch(arrays[1], done)
                assert refused is not None
                message = (
                    f"fit: {NOT_FINITE} in epoch {epoch + 1}, step {done + 1}: "
                    f"{self._first_not_finite(refused)}; the model is as of the step before"
                )
                if on_nan == "raise":
                    raise FloatingPointError(message) from None
                warnings.warn(message, RuntimeWarning, stacklevel=3)
                self.stop_training = True
                return done
            error.add_note(
                f"in epoch {epoch + 1}, step {done + 1}; the model is as of the step before"
            )
            raise
        return step

    def _first_not_finite(self, batch: Batch) -> str:
        """Where in the step of this batch the first value comes up that is no number: the step is run op by op."""
        for argument, part in (
            ("x", batch.x),
            ("y", batch.y),
            ("sample_weight", batch.sample_weight),
        ):
            for label, array in labelled(part, argument):
                found = None if array is None else not_finite(array)
                if found:
                    return f"{label} has {found}"
        for layer, own in self._weight_list():
            found = not_finite(own.variable)
            if found:
                return (
                    f"{own.variable.name} of layer '{layer.name}' has {found}, from a gradient or update before; a "
                    "smaller learning_rate or clipnorm= may help"
                )
        loss_of, _ = self._compiled("fit")
        graph = Graph(tracing=False)
        with naming_ops(), CallContext(training=True), graph, scope("loss"):
            loss_of(batch.y, self(batch.x), batch.sample_weight, self.losses)
        for (op, _, outputs), name in zip(graph.nodes, graph.scopes, strict=True):
            for output in outputs:
                found = not_finite(output)
                if found:
                    where = "the loss" if name == "loss" else f"layer '{name}'"
                    return f"the first values come from {op} in {where}, {found}"
        return "run op by op, it is finite"

    def _train_arrays(
        self,
        batches: EpochIterator,
        sources: list[np.ndarray | None],
        order: np.ndarray | None,
        progress: Progress,
    ) -> int:
        """The epoch in stretches that C++ runs alone: it gathers the rows and runs the steps."""
        step, full, steps = 0, batches.full_steps, batches.steps or 0
        rows = [Tensor(a) for a in sources if a is not None]
        changes = -1
        while step < full:
            if changes != _core.changes():
                run = self._train_program.run_for(batches.batch(order, step).parts())
                changes = _core.changes()
            run.prepare()
            last = step + 1 if self.optimizer.follows_schedule else full
            step = run.program.run_rows(rows, order, step, last, _STRETCH)
            progress.update(step, self._logs)
        if step < steps:  # the short last batch
            self._run_train_step(batches.batch(order, step))
            step += 1
        return step

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Any = None,
        return_dict: bool = False,
    ) -> Any:
        """One step on this batch. Returns its loss, or [loss, *metrics], or a dict of them."""
        self._compiled("train_on_batch")
        with self._alone("train_on_batch"):
            self._one_step(
                self._train_program, self._run_train_step, x, y, sample_weight, class_weight
            )
            return self._results(return_dict)

    def _one_step(
        self,
        program: Recorded,
        step: Callable[[Batch], None],
        x: Any,
        y: Any,
        sample_weight: Any,
        class_weight: Any = None,
    ) -> None:
        """A step on its own, its metrics counted from zero."""
        given = (x, y, sample_weight)
        if class_weight is None:
            try:
                if self._run_checked(program, given, self.reset_metrics) is not NotImplemented:
                    return
            except ValueError:
                self._one_batch(
                    *given
                )  # a bad label: the check says it in the words of the argument
                raise
        batch = self._one_batch(*given, class_weight)
        self.reset_metrics()
        step(batch)
        if class_weight is None:
            self._accept(program, given, batch.parts())

    # ---- evaluate

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Sequence[Any] | None = None,
        return_dict: bool = False,
    ) -> Any:
        """The loss (with penalties) and metrics over the data: the loss, or [loss, *metrics], or a dict of them."""
        self._compiled("evaluate")
        verbose = _verbosity(verbose)
        data = make_data(x, y, sample_weight, None, batch_size, self._ends_of_data)
        if isinstance(data, ArrayData) and len(data) == 0:
            raise ValueError("x: expected at least one sample, got 0 samples")
        batches = EpochIterator(data, self._prepare, steps)
        listeners = CallbackList(
            _callback_list(callbacks), self, {"verbose": verbose, "steps": batches.steps}
        )
        logs = self._evaluate(batches, listeners, Progress(verbose, batches.steps), "")
        return logs if return_dict else self._in_order(logs)

    def _evaluate(
        self,
        batches: EpochIterator,
        listeners: CallbackList,
        progress: Progress | None,
        prefix: str,
    ) -> Logs:
        saved = [(v, np.array(v)) for metric in self.metrics for v in metric.variables]
        self.reset_metrics()
        listeners.call("on_test_begin", {})
        step = 0
        try:
            for batch in batches.epoch():
                listeners.call_batch("on_test_batch_begin", step, dict)
                self._run_test_step(batch)
                listeners.call_batch("on_test_batch_end", step, self._logs)
                step += 1
                if progress is not None:
                    progress.update(step, self._logs)
            logs = self._logs(prefix)
        finally:
            # An evaluation in a callback leaves the sums of the epoch under way alone.
            for variable, value in saved:
                variable.assign(value)
        listeners.call("on_test_end", logs)
        if progress is not None:
            progress.finish(step, logs)
        return logs

    def test_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, return_dict: bool = False
    ) -> Any:
        """Loss and metrics of this batch: the loss, or [loss, *metrics], or a dict of them."""
        self._compiled("test_on_batch")
        self._one_step(self._test_program, self._run_test_step, x, y, sample_weight)
        return self._results(return_dict)

    # ---- predict

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> Any:
        """The outputs for x as one array each, in inference mode. No samples give an empty result.

        Args:
            x: array of samples, a list or dict of them, or an iterable of batches.
            verbose: `"auto"` prints nothing.
        """
        if batch_size is None and callbacks is None and steps is None and verbose in ("auto", 0):
            result = self._predict_one(x, BATCH_SIZE)
            if result is not NotImplemented:
                return result
        data = make_data(x, batch_size=batch_size, ends=self._ends_of_data)
        verbose = 0 if verbose == "auto" else _verbosity(verbose)
        batches = EpochIterator(data, self._prepare, steps)
        listeners = CallbackList(
            _callback_list(callbacks), self, {"verbose": verbose, "steps": batches.steps}
        )
        progress = Progress(verbose, batches.steps)
        listeners.call("on_predict_begin", {})
        outputs: list[Any] = []
        taken = None
        for step, batch in enumerate(batches.epoch()):
            listeners.call_batch("on_predict_batch_begin", step, dict)
            taken = batch.x
            outputs.append(self._run_predict_step(taken))
            listeners.call_batch("on_predict_batch_end", step, dict)
            progress.update(step + 1, dict)
        listeners.call("on_predict_end", {})
        progress.finish(len(outputs), {})
        if not outputs and isinstance(data, ArrayData):
            spec = self._prepare(data.x)
            outputs = [self._run_predict_step(spec.cast(Batch(spec.fit(data.x))).x)]
        if not outputs:
            raise ValueError("x: expected at least one batch, got none")
        if len(outputs) == 1:
            if isinstance(data, ArrayData) and taken is not None:
                self._accept(self._predict_program, (x,), (taken,))
            return outputs[0]
        parts = zip(*map(flatten, outputs), strict=True)
        return rebuild(outputs[0], (np.concatenate(part) for part in parts))

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for this batch."""
        result = self._predict_one(x)
        if result is NotImplemented:
            batch = self._one_batch(x)
            result = self._run_predict_step(batch.x)
            self._accept(self._predict_program, (x,), (batch.x,))
        return result

    def _predict_one(self, x: Any, largest: float = math.inf) -> Any:
        """The outputs for a batch of at most so many rows if it needs no check, else NotImplemented."""
        if not isinstance(x, np.ndarray) or not x.ndim or len(x) > largest:
            return NotImplemented
        return NotImplemented if self.run_eagerly else self._predict_program.run_checked((x,))

    # ---- profile

    def profile(
        self,
        x: Any,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        repeats: int = 20,
    ) -> Profile:
        """Where the time of a step goes: every node of the compiled step, in order, timed on the first batch of x.

        With targets it is the training step: forward, backward and update; without, the step of `predict`. The model
        is as before afterwards: weights, optimizer, metrics, random generators.

        Args:
            batch_size: rows of the batch. Default 32, or all there are if they are fewer.
            repeats: times are medians of so many runs. Default `20`.
        Returns: a Profile; print it, or read its `rows`.
        Raises: RuntimeError before `compile` if y is given, and where steps run eagerly.
        """
        from fastnn.training.profile import measure  # for this call only

        if self.run_eagerly or runs_eagerly():
            raise RuntimeError("profile: expected compiled steps, but they run eagerly")
        check_count("repeats", repeats)
        data = ArrayData(x, y, sample_weight, None, batch_size, self._ends_of_data)
        if len(data) == 0:
            raise ValueError("x: expected at least one sample, got 0 samples")
        if y is not None:
            self._compiled("profile")
        spec = self._prepare(data.x)
        spec.check_labels(data.y)
        first = data.batch(None, 0)
        batch = spec.cast(Batch(spec.fit(first.x), first.y, first.sample_weight))
        train = y is not None
        recorded = self._train_program if train else self._predict_program
        args: tuple[Any, ...] = batch.parts() if train else (batch.x,)
        with self._alone("profile"):
            program = recorded.run_for(args).program
            step = "training step" if train else "prediction"
            title = f'Model: "{self.name}", {step} on {batch.rows} rows'
            return measure(title, program, _core.collect(args)[0], repeats)

    # ---- helpers

    def _alone(self, caller: str) -> _Release:
        """The model to this thread for the `with` block, as its variables are written in it."""
        if not self._training_lock.acquire(blocking=False):
            raise RuntimeError(
                f"{caller}: model '{self.name}' is already training in another thread"
            )
        return self._release

    @property
    def _ends_of_data(self) -> Ends:
        changes = _core.changes()
        if changes != self._ends_at:
            self._data_ends = Ends(self.input_names, self.output_names)
            self._ends_at, self._spec = changes, None
        return self._data_ends

    def _prepare(self, x: Any) -> InputSpec:
        """What the model takes; built for x if it has not been."""
        ends = self._ends_of_data
        if self._spec is not None:
            return self._spec
        if not self.built:
            shape = self.batch_input_shape or map_structure(lambda a: (None, *a.shape[1:]), x)
            InputSpec(shape, self.dtype, ends=ends).fit(x)
            self.build_for(shape)
            ends = self._ends_of_data
        dtypes = self.input_dtypes or self.dtype
        self._spec = InputSpec(self.batch_input_shape, dtypes, self._classes(), ends)
        return self._spec

    def _classes(self) -> list[int | None]:
        """For each output the number of classes, where its loss takes labels."""
        shape = self.batch_input_shape
        sparse = map(_takes_labels, flatten(self.loss))
        if shape is None or self._compiled_loss is None or not any(sparse):
            return []
        shapes = self.compute_output_shape(shape)
        names = self.output_names or names_of(map_shapes(lambda _: None, shapes), "output")
        functions = self._compiled_loss.bind(names)
        return [
            shape[-1] if _takes_labels(function) else None
            for function, shape in zip(functions, flat_shapes(shapes), strict=True)
        ]

    def _one_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None
    ) -> Batch:
        data = ArrayData(x, y, sample_weight, class_weight, ends=self._ends_of_data)
        if len(data) == 0:
            raise ValueError("x: expected at least one sample, got 0 samples")
        spec = self._prepare(data.x)
        spec.check_labels(data.y)
        return spec.cast(Batch(spec.fit(data.x), data.y, data.sample_weight))

    def _check_targets(self, argument: str, data: ArrayData) -> None:
        if self.loss is not None and data.y is None:
            raise ValueError(f"{argument}: expected (x, y), targets for the loss, got x alone")

    def _results(self, return_dict: bool) -> Any:
        if return_dict:
            return self._logs()
        values = [float(metric.result()) for metric in self.metrics]
        return values[0] if len(values) == 1 else values

    def _in_order(self, logs: Logs) -> float | list[float]:
        values = [logs[metric.name] for metric in self.metrics]
        return values[0] if len(values) == 1 else values


class _Release:
    """Releases the lock at the end of a `with` block."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock

    def __enter__(self) -> None: ...

    def __exit__(self, *error: object) -> None:
        self._lock.release()


def _verbosity(verbose: int | str) -> int:
    if verbose == "auto":
        return 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"verbose: expected 'auto', 0, 1 or 2, got {verbose!r}")
    return int(verbose)


def _takes_labels(loss: Any) -> bool:
    """Whether targets are labels 0 .. classes - 1, and none besides them is ignored."""
    return isinstance(loss, SparseCategoricalCrossentropy) and loss.kwargs["ignore_class"] is None


def _callback_list(callbacks: Any) -> list[Any]:
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise TypeError(f"callbacks: expected a list of Callback objects, got {callbacks!r}")
    return list(callbacks)


def _validation_data(given: Any, batch_size: int | None, ends: Ends) -> Data:
    if isinstance(given, tuple | list):
        if not 2 <= len(given) <= 3:
            raise ValueError(
                f"validation_data: expected (x, y) or (x, y, sample_weight), got {len(given)} items"
            )
        weight = given[2] if len(given) == 3 else None
        data = make_data(given[0], given[1], weight, batch_size=batch_size, ends=ends)
    else:
        data = make_data(given, batch_size=batch_size, ends=ends)
    if isinstance(data, ArrayData) and len(data) == 0:
        raise ValueError("validation_data: expected at least one sample, got 0 samples")
    return data


def _due(frequency: int | Sequence[int], epoch: int) -> bool:
    if isinstance(frequency, int):
        return (epoch + 1) % frequency == 0
    return epoch + 1 in frequency
