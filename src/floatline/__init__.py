"""Floatline: mixed-precision training that stays afloat."""
