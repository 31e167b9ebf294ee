"""What a configuration tells before any step has run: pure checks on what was read of a model."""
