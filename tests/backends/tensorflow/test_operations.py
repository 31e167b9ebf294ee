"""Operations that are said to move values do: what comes out went in, or is a zero or a one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.func_graph import FuncGraph

from floatline.backends.tensorflow.operations import (
    CHECKS,
    MOVES,
    NO_SHADOW_REASONS,
    OPAQUE,
    draws_random_numbers,
)

raw: Any = tf.raw_ops

X = np.array([[0.1, -2.5, 3.7], [1e-7, 6e4, -0.3]], "float16")
"""Values that any arithmetic would change."""

V = X[0]
IMAGE = np.arange(1, 17, dtype="float16").reshape(1, 4, 4, 1) / np.float16(7)
SQUARE = X[:, :2]
CUT = {"begin": [0, 1], "end": [2, 3], "strides": [1, 1]}


VARIABLE: Any = tf.Variable(X)
GENERATOR: Any = tf.random.Generator.from_seed(1)


def listed(shape: Any = (3,)) -> Any:
    """A list of the rows of X."""
    return raw.TensorListFromTensor(tensor=X, element_shape=list(shape))


def stacked(handle: Any) -> Any:
    """What is in a list."""
    return raw.TensorListStack(input_handle=handle, element_shape=[3], element_dtype=tf.float16)


SPECIMENS: dict[str, Callable[[], Any]] = {
    "BatchToSpaceND": lambda: raw.BatchToSpaceND(
        input=IMAGE.reshape(4, 2, 2, 1), block_shape=[2, 2], crops=[[0, 0], [0, 0]]
    ),
    "BroadcastTo": lambda: raw.BroadcastTo(input=V, shape=[2, 3]),
    "Concat": lambda: raw.Concat(concat_dim=0, values=[X, X]),
    "ConcatV2": lambda: raw.ConcatV2(values=[X, X], axis=1),
    "DeepCopy": lambda: raw.DeepCopy(x=X),
    "DepthToSpace": lambda: raw.DepthToSpace(input=IMAGE.reshape(1, 2, 2, 4), block_size=2),
    "Diag": lambda: raw.Diag(diagonal=V.astype("float32")),
    "DiagPart": lambda: raw.DiagPart(input=SQUARE.astype("float32")),
    "DynamicPartition": lambda: raw.DynamicPartition(
        data=V, partitions=[0, 1, 0], num_partitions=2
    ),
    "DynamicStitch": lambda: raw.DynamicStitch(indices=[[0, 2], [1]], data=[V[:2], V[2:]]),
    "EnsureShape": lambda: raw.EnsureShape(input=X, shape=[2, 3]),
    "ExpandDims": lambda: raw.ExpandDims(input=X, axis=0),
    "ExtractImagePatches": lambda: raw.ExtractImagePatches(
        images=IMAGE, ksizes=[1, 2, 2, 1], strides=[1, 1, 1, 1], rates=[1, 1, 1, 1], padding="SAME"
    ),
    "Fill": lambda: raw.Fill(dims=[2], value=V[1]),
    "Gather": lambda: raw.Gather(params=X, indices=[1, 1]),
    "GatherNd": lambda: raw.GatherNd(params=X, indices=[[1, 2], [0, 0]]),
    "GatherV2": lambda: raw.GatherV2(params=X, indices=[2, 0], axis=1),
    "Identity": lambda: raw.Identity(input=X),
    "IdentityN": lambda: raw.IdentityN(input=[X, V]),
    "MatrixBandPart": lambda: raw.MatrixBandPart(input=X, num_lower=0, num_upper=1),
    "MatrixDiag": lambda: raw.MatrixDiag(diagonal=X),
    "MatrixDiagV2": lambda: raw.MatrixDiagV2(
        diagonal=V, k=0, num_rows=3, num_cols=3, padding_value=np.float16(0)
    ),
    "MatrixDiagV3": lambda: raw.MatrixDiagV3(
        diagonal=V, k=0, num_rows=3, num_cols=3, padding_value=np.float16(0)
    ),
    "MatrixDiagPart": lambda: raw.MatrixDiagPart(input=X),
    "MatrixDiagPartV2": lambda: raw.MatrixDiagPartV2(input=X, k=0, padding_value=np.float16(0)),
    "MatrixDiagPartV3": lambda: raw.MatrixDiagPartV3(input=X, k=0, padding_value=np.float16(0)),
    "MatrixSetDiagV3": lambda: raw.MatrixSetDiagV3(input=X, diagonal=V[:2], k=0),
    "MirrorPad": lambda: raw.MirrorPad(input=X, paddings=[[1, 1], [0, 0]], mode="SYMMETRIC"),
    "OneHot": lambda: raw.OneHot(indices=[1], depth=3, on_value=V[0], off_value=V[1]),
    "OnesLike": lambda: raw.OnesLike(x=X),
    "Pack": lambda: raw.Pack(values=[X, X]),
    "Pad": lambda: raw.Pad(input=X, paddings=[[1, 1], [0, 0]]),
    "PadV2": lambda: raw.PadV2(input=X, paddings=[[1, 1], [0, 0]], constant_values=V[1]),
    "ParallelDynamicStitch": lambda: raw.ParallelDynamicStitch(
        indices=[[0, 2], [1]], data=[V[:2], V[2:]]
    ),
    "PlaceholderWithDefault": tf.function(
        lambda: raw.PlaceholderWithDefault(input=X, shape=[2, 3])
    ),
    "PreventGradient": lambda: raw.PreventGradient(input=X),
    "Range": lambda: raw.Range(start=0, limit=3, delta=1),
    "RaggedTensorToTensor": lambda: raw.RaggedTensorToTensor(
        shape=[2, 2], values=V, default_value=np.float16(0), row_partition_tensors=[[0, 1, 3]],
        row_partition_types=["ROW_SPLITS"],
    ),
    "Reshape": lambda: raw.Reshape(tensor=X, shape=[3, 2]),
    "ResourceGather": lambda: raw.ResourceGather(
        resource=VARIABLE.handle, indices=[1], dtype=tf.float16
    ),
    "ResourceGatherNd": lambda: raw.ResourceGatherNd(
        resource=VARIABLE.handle, indices=[[1, 2]], dtype=tf.float16
    ),
    "Reverse": lambda: raw.Reverse(tensor=X, dims=[True, False]),
    "ReverseSequence": lambda: raw.ReverseSequence(
        input=X, seq_lengths=[1, 2], seq_dim=1, batch_dim=0
    ),
    "ReverseV2": lambda: raw.ReverseV2(tensor=X, axis=[0]),
    "Roll": lambda: raw.Roll(input=X, shift=1, axis=0),
    "ScatterNd": lambda: raw.ScatterNd(indices=[[2], [0]], updates=V[:2], shape=[4]),
    "Select": lambda: raw.Select(condition=X > 0, x=X, y=-np.abs(X) * 0),
    "SelectV2": lambda: raw.SelectV2(condition=X > 0, t=X, e=V[1]),
    "Slice": lambda: raw.Slice(input=X, begin=[0, 1], size=[2, 2]),
    "Snapshot": lambda: raw.Snapshot(input=X),
    "SpaceToBatchND": lambda: raw.SpaceToBatchND(
        input=IMAGE, block_shape=[2, 2], paddings=[[0, 0], [0, 0]]
    ),
    "SpaceToDepth": lambda: raw.SpaceToDepth(input=IMAGE, block_size=2),
    "Split": lambda: raw.Split(axis=1, value=X, num_split=3),
    "SplitV": lambda: raw.SplitV(value=X, size_splits=[1, 2], axis=1, num_split=2),
    "Squeeze": lambda: raw.Squeeze(input=X[:1]),
    "StopGradient": lambda: raw.StopGradient(input=X),
    "StridedSlice": lambda: raw.StridedSlice(input=X, **CUT),
    "StridedSliceGrad": lambda: raw.StridedSliceGrad(shape=[2, 3], dy=SQUARE, **CUT),
    "TensorListConcat": lambda: raw.TensorListConcat(
        input_handle=listed(), element_dtype=tf.float16, element_shape=[3]
    )[0],
    "TensorListConcatV2": lambda: raw.TensorListConcatV2(
        input_handle=listed(), element_shape=[3], leading_dims=tf.constant([], tf.int64),
        element_dtype=tf.float16,
    )[0],
    "TensorListFromTensor": lambda: stacked(listed()),
    "TensorListGather": lambda: raw.TensorListGather(
        input_handle=listed(), indices=[1, 0], element_shape=[3], element_dtype=tf.float16
    ),
    "TensorListGetItem": lambda: raw.TensorListGetItem(
        input_handle=listed(), index=1, element_shape=[3], element_dtype=tf.float16
    ),
    "TensorListPopBack": lambda: raw.TensorListPopBack(
        input_handle=listed(), element_shape=[3], element_dtype=tf.float16
    )[1],
    "TensorListPushBack": lambda: stacked(raw.TensorListPushBack(input_handle=listed(), tensor=V)),
    "TensorListResize": lambda: stacked(raw.TensorListResize(input_handle=listed(), size=1)),
    "TensorListScatter": lambda: stacked(
        raw.TensorListScatter(tensor=X, indices=[1, 0], element_shape=[3])
    ),
    "TensorListScatterV2": lambda: stacked(
        raw.TensorListScatterV2(tensor=X, indices=[1, 0], element_shape=[3], num_elements=2)
    ),
    "TensorListScatterIntoExistingList": lambda: stacked(
        raw.TensorListScatterIntoExistingList(input_handle=listed(), tensor=X, indices=[1, 0])
    ),
    "TensorListSetItem": lambda: stacked(
        raw.TensorListSetItem(input_handle=listed(), index=0, item=V)
    ),
    "TensorListSplit": lambda: stacked(
        raw.TensorListSplit(
            tensor=X.reshape(-1), element_shape=[3], lengths=tf.constant([3, 3], tf.int64)
        )
    ),
    "TensorListStack": lambda: stacked(listed()),
    "TensorScatterUpdate": lambda: raw.TensorScatterUpdate(
        tensor=V, indices=[[1]], updates=X[1, :1]
    ),
    "Tile": lambda: raw.Tile(input=X, multiples=[2, 1]),
    "Transpose": lambda: raw.Transpose(x=X, perm=[1, 0]),
    "Unpack": lambda: raw.Unpack(value=X, num=2),
    "ZerosLike": lambda: raw.ZerosLike(x=X),
}  # fmt: skip

WITHOUT_FLOATS = {
    "EmptyTensorList", "InvertPermutation", "LowerBound", "Shape", "TensorListReserve", "Where",
}  # fmt: skip
"""They give indices, shapes, or lists in which nothing is yet."""


@pytest.mark.parametrize("operation", SPECIMENS)
def test_what_comes_out_went_in(operation: str) -> None:
    inputs = np.concatenate([X.reshape(-1), IMAGE.reshape(-1), [0.0, 1.0, 2.0]]).astype("float64")
    outputs = tf.nest.flatten(SPECIMENS[operation]())
    assert outputs
    for output in outputs:
        assert set(np.unique(np.asarray(output).astype("float64"))) <= set(inputs)


def test_every_operation_that_moves_values_has_a_specimen() -> None:
    assert set(SPECIMENS) | WITHOUT_FLOATS == MOVES


def test_a_specimen_runs_the_operation_that_it_is_named_after() -> None:
    for name, run in SPECIMENS.items():
        if name != "PlaceholderWithDefault":  # Runs in a function of its own.
            with FuncGraph(name).as_default() as graph:
                run()
            assert name in {operation.type for operation in graph.get_operations()}


def test_the_law_can_fail() -> None:
    outputs = np.asarray(raw.Mul(x=X, y=V)).astype("float64")
    assert not set(np.unique(outputs)) <= set(X.reshape(-1).astype("float64")) | {0.0, 1.0}


@pytest.mark.parametrize("operation", sorted(MOVES | OPAQUE | CHECKS))
def test_tensorflow_has_an_operation_of_this_name(operation: str) -> None:
    assert op_def_registry.get(operation) is not None


def test_an_operation_is_of_one_kind() -> None:
    assert MOVES & OPAQUE == MOVES & CHECKS == OPAQUE & CHECKS == frozenset()
    assert set(NO_SHADOW_REASONS) <= OPAQUE
    assert not any(map(draws_random_numbers, MOVES | OPAQUE | CHECKS))


@pytest.mark.parametrize(
    ("draw", "expected"),
    [
        (lambda: tf.random.normal([2]), True),
        (lambda: tf.random.uniform([2]), True),
        (lambda: tf.random.stateless_normal([2], [1, 2]), True),
        (lambda: tf.random.stateless_gamma([2], [1, 2], 1.0), True),
        (lambda: tf.random.gamma([2], 1.0), True),
        (lambda: tf.random.stateless_binomial([2], [1, 2], [3.0], [0.5]), True),
        (lambda: tf.random.poisson([2], 1.0), True),
        (lambda: tf.random.shuffle([1.0, 2.0]), True),
        (lambda: tf.random.categorical([[0.5, 0.5]], 3), True),
        (lambda: GENERATOR.normal([2]), True),
        (lambda: tf.exp([1.0]), False),
    ],
)
def test_what_draws_random_numbers_is_known(draw: Callable[[], Any], expected: bool) -> None:
    graph = tf.function(draw).get_concrete_function().graph
    drawing = [op for op in graph.get_operations() if draws_random_numbers(op.type)]
    assert bool(drawing) is expected
