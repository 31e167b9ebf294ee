"""The zoo as a benchmark: Floatline and its peers on every script of tests/patients."""
