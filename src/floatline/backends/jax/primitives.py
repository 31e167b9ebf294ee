"""JAX primitives by what a shadow must do with them."""

from __future__ import annotations

MOVES = frozenset(
    """
    all_gather all_to_all broadcast broadcast_in_dim concatenate copy copy_p device_put
    dynamic_slice dynamic_update_slice expand_dims gather iota layout_constraint mesh_cast name
    optimization_barrier pad pbroadcast ppermute pvary reshape reshard rev scatter select_and_gather
    select_n sharding_constraint slice split squeeze stage stop_gradient tie_in transpose unstack
    """.split()
)
"""Primitives that only move, copy or choose values: shadows pass through, nothing is rounded."""

PLACES = frozenset("copy copy_p device_put mesh_cast reshard select_n sharding_constraint".split())
"""Those of them that give a value another place, or choose between two, and keep its shape."""

CALLS = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "composite": "jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
}
"""Primitives that only run a function, and the parameter that holds it."""

REMATERIALIZED = frozenset(["checkpoint", "remat", "remat2"])

OPAQUE = {
    "debug_callback": "runs Python code",
    "ffi_call": "runs foreign code",
    "io_callback": "runs Python code",
    "pallas_call": "runs a kernel of the user's",
    "pure_callback": "runs Python code",
    "reduce_precision": "rounds to a format of its own",
    "tpu_custom_call": "runs a kernel of the user's",
}
"""Primitives that run only once, for all lanes, and why."""

_FUSED = "is a fused kernel for 16-bit floats alone"

OPAQUE_IN_LOW = {
    "bitcast_convert_type": "reads the bits of its input",
    # cuDNN's kernels, which JAX takes for attention on a GPU.
    "dot_product_attention_fwd": _FUSED,
    "dot_product_attention_fwd_wrapper": _FUSED,
    "dot_product_attention_bwd": _FUSED,
    "dot_product_attention_bwd_wrapper": _FUSED,
}
"""Primitives that cannot run on float32 inputs in the place of 16-bit ones, and why."""

MARK = "name"
"""The primitive behind `jax.ad_checkpoint.checkpoint_name`: names a value and passes it on."""
