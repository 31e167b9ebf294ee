"""What every test starts from: a backend is chosen, the framework is quiet."""

import os

from hypothesis import settings

# Here and nowhere else: two sessions of Playwright in one process stand in each other's way.
from tests.browser import browser as browser

# Keras reads both when it is imported for the first time, so they stand outside every fixture.
BACKEND = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On some processors TensorFlow chooses other kernels, which do not round within what they fuse,
# and lose NaN in a relu behind a product: what the tests see would depend on the machine.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

# How long an example takes says something of the machine alone.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# Programs that tests start in processes of their own.
collect_ignore = ["contract/scripts", "scaling/distributed", "watch/company"]
# Keras has one backend per process: the tests of the others run in processes of their own.
collect_ignore += [f"backends/{name}" for name in ("tensorflow", "jax", "torch") if name != BACKEND]
