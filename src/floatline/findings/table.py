"""Every rule, in id order: the explicit list; nothing is discovered."""

from __future__ import annotations

from floatline.errors import InputError
from floatline.findings.rule import Rule
from floatline.findings.rules.fl101_activation_range_overflow import ActivationRangeOverflow
from floatline.findings.rules.fl102_reduction_sum_overflow import ReductionSumOverflow
from floatline.findings.rules.fl103_exp_overflow import ExpOverflow
from floatline.findings.rules.fl104_mask_constant_overflow import MaskConstantOverflow
from floatline.findings.rules.fl105_input_or_target_out_of_range import InputOrTargetOutOfRange
from floatline.findings.rules.fl106_norm_variance_overflow import NormVarianceOverflow
from floatline.findings.rules.fl107_attention_logit_overflow import AttentionLogitOverflow
from floatline.findings.rules.fl108_special_op_in_half import SpecialOpInHalf
from floatline.findings.rules.fl110_backward_only_overflow import BackwardOnlyOverflow
from floatline.findings.rules.fl111_l2_normalize_gradient import L2NormalizeGradient
from floatline.findings.rules.fl112_second_order_gradient import SecondOrderGradient
from floatline.findings.rules.fl201_missing_loss_scaling import MissingLossScaling
from floatline.findings.rules.fl202_loss_scale_too_low import LossScaleTooLow
from floatline.findings.rules.fl203_epsilon_underflow import EpsilonUnderflow
from floatline.findings.rules.fl204_activation_underflow import ActivationUnderflow
from floatline.findings.rules.fl205_softmax_or_loss_in_half import SoftmaxOrLossInHalf
from floatline.findings.rules.fl206_optimizer_eps_half_state import OptimizerEpsHalfState
from floatline.findings.rules.fl301_position_precision import PositionPrecision
from floatline.findings.rules.fl302_reduction_sum_stagnation import ReductionSumStagnation
from floatline.findings.rules.fl303_integer_in_half import IntegerInHalf
from floatline.findings.rules.fl304_lost_small_update import LostSmallUpdate
from floatline.findings.rules.fl305_one_minus_eps_rounding import OneMinusEpsRounding
from floatline.findings.rules.fl401_loss_scale_collapse import LossScaleCollapse
from floatline.findings.rules.fl402_loss_scale_too_high import LossScaleTooHigh
from floatline.findings.rules.fl403_loss_scale_overflow import LossScaleOverflow
from floatline.findings.rules.fl404_scaled_gradient_misuse import ScaledGradientMisuse
from floatline.findings.rules.fl501_policy_set_too_late import PolicySetTooLate
from floatline.findings.rules.fl502_pure_float16_policy import PureFloat16Policy
from floatline.findings.rules.fl503_fails_on_other_devices import FailsOnOtherDevices
from floatline.findings.rules.fl601_non_finite_data import NonFiniteData
from floatline.findings.rules.fl602_diverges_in_float32 import DivergesInFloat32
from floatline.findings.rules.fl603_dead_gradients import DeadGradients
from floatline.findings.rules.fl604_non_finite_in_float32 import NonFiniteInFloat32
from floatline.findings.rules.fl605_loss_across_rows import LossAcrossRows
from floatline.findings.rules.fl606_learns_nothing import LearnsNothing
from floatline.findings.rules.fl701_no_speedup_small_or_shape import NoSpeedupSmallOrShape

RULES: tuple[Rule, ...] = (
    ActivationRangeOverflow(),
    ReductionSumOverflow(),
    ExpOverflow(),
    MaskConstantOverflow(),
    InputOrTargetOutOfRange(),
    NormVarianceOverflow(),
    AttentionLogitOverflow(),
    SpecialOpInHalf(),
    BackwardOnlyOverflow(),
    L2NormalizeGradient(),
    SecondOrderGradient(),
    MissingLossScaling(),
    LossScaleTooLow(),
    EpsilonUnderflow(),
    ActivationUnderflow(),
    SoftmaxOrLossInHalf(),
    OptimizerEpsHalfState(),
    PositionPrecision(),
    ReductionSumStagnation(),
    IntegerInHalf(),
    LostSmallUpdate(),
    OneMinusEpsRounding(),
    LossScaleCollapse(),
    LossScaleTooHigh(),
    LossScaleOverflow(),
    ScaledGradientMisuse(),
    PolicySetTooLate(),
    PureFloat16Policy(),
    FailsOnOtherDevices(),
    NonFiniteData(),
    DivergesInFloat32(),
    DeadGradients(),
    NonFiniteInFloat32(),
    LossAcrossRows(),
    LearnsNothing(),
    NoSpeedupSmallOrShape(),
)


def rule_named(name: str) -> Rule:
    """The rule with an id or with the name of a cause.

    Example:

    >>> rule_named("fl110").cause
    'backward-only-overflow'
    >>> rule_named("exp-overflow").id
    'FL103'
    """
    for rule in RULES:
        if name.upper() == rule.id or name == rule.cause:
            return rule
    known = ", ".join(rule.id for rule in RULES)
    raise InputError(f"There is no rule {name!r}.", f"The rules are {known}.")
