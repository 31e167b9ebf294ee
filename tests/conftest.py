"""What every test starts from: a backend is chosen, the framework is quiet."""

import os

# Keras reads both when it is imported for the first time, so they stand outside every fixture.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
