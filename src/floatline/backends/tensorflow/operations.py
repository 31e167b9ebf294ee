"""TensorFlow operation types by what a shadow must do with them."""

from __future__ import annotations

MOVES = frozenset(
    """
    BatchToSpaceND BroadcastTo ConcatV2 Concat DeepCopy DepthToSpace Diag DiagPart DynamicPartition
    DynamicStitch EmptyTensorList EnsureShape ExpandDims ExtractImagePatches Fill Gather GatherNd
    GatherV2 Identity IdentityN InvertPermutation LowerBound MatrixBandPart MatrixDiag MatrixDiagV2
    MatrixDiagV3 MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 MatrixSetDiagV3 MirrorPad
    OneHot OnesLike Pack Pad PadV2 ParallelDynamicStitch PlaceholderWithDefault
    PreventGradient Range RaggedTensorToTensor Reshape ResourceGather ResourceGatherNd Reverse
    ReverseSequence ReverseV2 Roll ScatterNd Select SelectV2 Shape Slice Snapshot SpaceToBatchND
    SpaceToDepth Split SplitV Squeeze StopGradient StridedSlice StridedSliceGrad TensorListConcat
    TensorListConcatV2 TensorListFromTensor TensorListGather TensorListGetItem TensorListPopBack
    TensorListPushBack TensorListReserve TensorListResize TensorListScatter
    TensorListScatterIntoExistingList TensorListScatterV2 TensorListSetItem TensorListSplit
    TensorListStack TensorScatterUpdate Tile Transpose Unpack Where ZerosLike
    """.split()
)
"""Types that only move, copy or choose values: shadows pass through, nothing can be rounded."""

REPEATABLE = frozenset(["Cast", "Identity", "ReadVariableOp", "Transpose"])
"""Types that loop bodies typically apply to weights, and that give the same every time."""

READS = frozenset(["ReadVariableOp", "ResourceGather", "ResourceGatherNd", "VariableShape"])
"""Types that look at a variable without changing it."""

RANDOM_PREFIXES = (
    "Random",
    "StatelessRandom",
    "StatelessTruncated",
    "StatelessMultinomial",
    "StatelessParameterized",
    "StatelessSample",
    "StatefulUniform",
    "StatefulStandardNormal",
    "StatefulTruncated",
    "StatefulRandom",
    "StatelessShuffle",
    "Multinomial",
    "TruncatedNormal",
    "ParameterizedTruncatedNormal",
)
"""Types that draw random numbers: the shadow is given the same draw, not one of its own."""

OPAQUE = frozenset(
    """
    Bitcast EagerPyFunc PyFunc PyFuncStateless DebugNumericSummaryV2 HashTableV2 LookupTableFindV2
    LookupTableInsertV2 LookupTableImportV2 MapDefun Print PrintV2 QuantizeV2 Dequantize
    SymbolicGradient Unique UniqueV2 UniqueWithCounts UniqueWithCountsV2 XlaSharding RemoteCall
    """.split()
)
"""Types that cannot run on float32 inputs in the same way: their result is taken as it is."""

CHECKS = frozenset(["Assert", "CheckNumerics", "CheckNumericsV2"])
"""Types that hand their input on, or stop the step, which a trace must not: it shows more."""

NO_SHADOW_REASONS = {
    "EagerPyFunc": "runs Python code",
    "PyFunc": "runs Python code",
    "PyFuncStateless": "runs Python code",
    "Bitcast": "reads the bits of its input",
    "MapDefun": "maps a function that is traced elsewhere",
    **dict.fromkeys(
        ("Unique", "UniqueV2", "UniqueWithCounts", "UniqueWithCountsV2"),
        "gives as many values as it finds",
    ),
}

CALLS = frozenset(["PartitionedCall", "StatefulPartitionedCall"])
LOOPS = frozenset(["While", "StatelessWhile"])
BRANCHES = frozenset(["If", "StatelessIf"])
CASES = frozenset(["Case", "StatelessCase"])


def draws_random_numbers(operation_type: str) -> bool:
    """Whether the type draws random numbers.

    Example:

    >>> draws_random_numbers("StatelessRandomUniformV2"), draws_random_numbers("MatMul")
    (True, False)
    """
    return operation_type.startswith(RANDOM_PREFIXES)
