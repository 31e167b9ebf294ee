"""The optimizer: updates are float32's, a skipped step changes nothing, everything is counted."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest

import floatline
from floatline.errors import InputError
from tests.scaling.samples import apply, array, only_tensorflow, tensor, variable

INF, NAN = float("inf"), float("nan")
SCALES: list[Any] = [
    floatline.NoScale(),
    floatline.FixedScale(1000.0),
    floatline.DynamicScale(growth_interval=2),
    floatline.CalibratedScale(),
]
Make = Callable[[], keras.optimizers.Optimizer]
INNER: dict[str, Make] = {
    "sgd": lambda: keras.optimizers.SGD(0.1, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.1),
    "adamw": lambda: keras.optimizers.AdamW(0.1, weight_decay=0.1),
    "clipnorm": lambda: keras.optimizers.SGD(0.1, clipnorm=1.0),
    "global_clipnorm": lambda: keras.optimizers.SGD(0.1, global_clipnorm=1.0),
    "clipvalue": lambda: keras.optimizers.SGD(0.1, clipvalue=0.5),
    "accumulation": lambda: keras.optimizers.Adam(0.1, gradient_accumulation_steps=2),
    "ema": lambda: keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=2),
    "schedule": lambda: keras.optimizers.SGD(
        keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    ),
}


def gradients_of(step: int) -> list[Any]:
    return [np.array([3.0, 4.0]) * (step + 1), np.array([[0.5]]) / (step + 1)]


def train(optimizer: Any, steps: Any, scale: Callable[[], float] = lambda: 1.0) -> Any:
    """Applies `gradients_of` each step; a step of None is one whose second gradient overflows."""
    variables = [variable([1.0, 2.0]), variable([[3.0]])]
    optimizer.build(variables)
    for step in steps:
        scaled = [gradient * scale() for gradient in gradients_of(step or 0)]
        if step is None:
            scaled[1] = np.array([[INF]])
        apply(optimizer, scaled, variables)
    return [array(v) for v in [*variables, *optimizer.variables]], [array(v) for v in variables]


def scaled_train(inner: Make, scale: Any, steps: Any) -> Any:
    optimizer = floatline.LossScaleOptimizer(inner(), scale=scale)
    _, variables = train(optimizer, steps, lambda: float(optimizer.dynamic_scale.value))
    return optimizer, variables


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: type(scale).__name__)
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
def test_updates_equal_those_of_the_inner_optimizer_alone(inner: Make, scale: Any) -> None:
    _, expected = train(inner(), range(5))
    _, found = scaled_train(inner, scale, range(5))
    for have, want in zip(found, expected, strict=True):
        # Division by a power of two is exact; by 1000 it rounds once.
        np.testing.assert_allclose(have, want, rtol=2e-6 if "1000" in repr(scale) else 0)


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER.keys())
def test_a_skipped_step_is_as_if_it_had_not_been(inner: Make) -> None:
    scale = floatline.FixedScale(128.0)
    skipping, with_skips = scaled_train(inner, scale, [None, 0, None, None, 1, 2, None])
    smooth, without = scaled_train(inner, scale, [0, 1, 2])
    for have, want in zip(with_skips, without, strict=True):
        np.testing.assert_array_equal(have, want)
    pairs = zip(skipping.inner_optimizer.variables, smooth.inner_optimizer.variables, strict=True)
    for left, right in pairs:
        np.testing.assert_array_equal(array(left), array(right), err_msg=left.path)


def test_counters_tell_what_happened_and_where() -> None:
    optimizer = floatline.LossScaleOptimizer(
        keras.optimizers.SGD(), scale=floatline.DynamicScale(8.0, growth_interval=2)
    )
    optimizer.build([variable([1.0, 2.0]), variable([[3.0]])])
    assert optimizer.report().culprit is None
    for second, expected in [(INF, (1, 1, 0, 1)), (NAN, (2, 2, 0, 2)), (1.0, (2, 0, 0, 2))]:
        apply(optimizer, [[1.0, 1.0], [[second]]], optimizer._trainable_variables)
        report = optimizer.report()
        found = (report.skipped, report.consecutive, report.growths, report.backoffs)
        assert found == expected
    assert optimizer.report().culprit == optimizer._trainable_variables[1].path
    apply(optimizer, [[1.0, 1.0], [[1.0]]], optimizer._trainable_variables)
    assert optimizer.report().growths == 1
    assert optimizer.report().scale == 4.0


def test_the_culprit_is_found_although_gradients_are_missing() -> None:
    variables = [variable([1.0]), variable([2.0]), variable([3.0])]
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD())
    optimizer.build(variables)
    optimizer.scale_loss(tensor(1.0))
    with warnings.catch_warnings(action="ignore"):  # Keras says that one is missing.
        optimizer.apply([None, tensor([1.0]), tensor([NAN])], variables)
    assert optimizer.report().culprit == variables[2].path


def test_what_overwrites_its_variable_is_neither_unscaled_nor_measured() -> None:
    variables = [variable([1.0]), variable([2.0])]
    variables[1].overwrite_with_gradient = True
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(1.0), scale=SCALES[3])
    optimizer.build(variables)
    scale = float(optimizer.dynamic_scale.value)
    apply(optimizer, [[scale], [2.0**40]], variables)
    assert [array(v)[0] for v in variables] == [0.0, 2.0**40]
    assert float(optimizer.scale_memory.value[0]) == 0.0


def test_a_loss_that_is_nan_makes_the_gradient_of_its_scaled_value_nan() -> None:
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(), scale=SCALES[1])
    assert float(optimizer.scale_loss(tensor(2.0))) == 2000.0
    assert np.isnan(float(optimizer.scale_loss(tensor(NAN))))


def test_forgetting_to_scale_the_loss_is_told_once() -> None:
    variables = [variable([1.0])]
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD())
    optimizer.build(variables)
    with pytest.warns(UserWarning, match="`scale_loss` was never called"):
        optimizer.apply([tensor([1.0])], variables)
    optimizer.apply([tensor([1.0])], variables)  # A second warning would be an error here.


def test_the_users_gradients_stay_as_they_are() -> None:
    variables, gradient = [variable([1.0])], tensor([512.0])
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(), scale=SCALES[1])
    optimizer.build(variables)
    optimizer.scale_loss(tensor(1.0))
    optimizer.apply([gradient], variables)
    assert array(gradient)[0] == 512.0


def test_apply_gradients_returns_the_updates_made_so_far() -> None:
    variables = [variable([1.0])]
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD())
    optimizer.build(variables)
    optimizer.scale_loss(tensor(1.0))
    for count, value in [(1, 1.0), (1, INF), (2, 1.0)]:
        assert int(optimizer.apply_gradients([(tensor([value]), variables[0])])) == count


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda o: o.apply([None], [variable([1.0])]), "No gradients.*1 times None"),
        (lambda o: o.apply([tensor([1.0])]), "without variables.*optimizer.build"),
    ],
)
def test_unusable_gradients_are_refused_with_advice(call: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        call(floatline.LossScaleOptimizer(keras.optimizers.SGD()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": floatline.NoScale(), "initial_scale": 8.0}, "Pass either `scale` or"),
        ({"scale": 128.0}, "scale=128.0.*FixedScale"),
        ({"scale": {"law": "Magic"}}, "law 'Magic'.*CalibratedScale"),
        ({"scale": {"law": "NoScale", "value": 1}}, "settings value.*none"),
        ({"initial_scale": -1.0}, "initial=-1.0"),
    ],
)
def test_contradictory_arguments_are_refused_with_advice(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"(?s){message}"):
        floatline.LossScaleOptimizer(keras.optimizers.SGD(), **arguments)


@pytest.mark.parametrize("scale", [floatline.NoScale(), floatline.FixedScale(8.0)], ids=repr)
def test_a_scale_that_never_changes_does_not_take_over_the_one_before(scale: Any) -> None:
    taken = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=64.0)
    taken.build([variable([1.0, 2.0])])
    optimizer = floatline.LossScaleOptimizer(taken, scale=scale)
    assert float(optimizer.dynamic_scale.value) == float(scale.initial_state().scale)


def test_an_optimizer_that_keras_has_wrapped_is_taken_over_with_its_state() -> None:
    inner = keras.optimizers.Adam(0.1)
    theirs = keras.optimizers.LossScaleOptimizer(inner, initial_scale=64.0, dynamic_growth_steps=9)
    variables = [variable([1.0])]
    theirs.build(variables)
    theirs.dynamic_scale.assign(16.0)
    theirs.step_counter.assign(5)
    moments = [v.path for v in inner.variables]
    ours = floatline.LossScaleOptimizer(theirs)
    assert ours.inner_optimizer is inner
    assert [v.path for v in inner.variables] == moments
    assert (float(ours.dynamic_scale.value), int(ours.step_counter.value)) == (16.0, 5)
    for _ in range(4):
        apply(ours, [[16.0]], variables)
    assert float(ours.dynamic_scale.value) == 32.0


@only_tensorflow
@pytest.mark.parametrize("bad", [False, True])
def test_sparse_gradients_stay_sparse_and_are_checked(bad: bool) -> None:
    import tensorflow as tf

    table = variable(np.ones((5, 2)))
    optimizer = floatline.LossScaleOptimizer(
        keras.optimizers.SGD(1.0), scale=floatline.FixedScale(8.0)
    )
    optimizer.build([table])
    optimizer.scale_loss(tensor(1.0))
    values = tf.constant([[8.0, 8.0], [16.0, INF if bad else 16.0]])
    optimizer.apply([tf.IndexedSlices(values, tf.constant([1, 3]), tf.constant([5, 2]))], [table])
    expected = np.ones((5, 2), "float32")
    if not bad:
        expected[1] -= 1.0
        expected[3] -= 2.0
    np.testing.assert_array_equal(array(table), expected)


def test_what_is_excluded_from_weight_decay_does_not_decay() -> None:
    optimizer = floatline.LossScaleOptimizer(keras.optimizers.SGD(0.1, weight_decay=0.5))
    decays, stays = variable([1.0]), variable([1.0])
    optimizer.exclude_from_weight_decay(var_list=[stays])
    apply(optimizer, [[0.0], [0.0]], [decays, stays])
    np.testing.assert_allclose([*array(decays), *array(stays)], [0.95, 1.0])


@pytest.mark.parametrize("inner", [None, "adam", keras.optimizers.Adam])
def test_what_is_no_optimizer_is_refused(inner: Any) -> None:
    with pytest.raises(InputError, match=r"(?s)inner_optimizer=.*Pass a Keras optimizer"):
        floatline.LossScaleOptimizer(inner)
