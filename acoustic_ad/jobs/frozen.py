"""Loaded last by the server that workers are forked from: what it has loaded by then stays shared with all of them."""

from __future__ import annotations

import gc

# A collection in a worker would write into every object that it looks at, and so copy most of the libraries' memory
# into each worker, little by little. What is frozen is not looked at.
gc.collect()
gc.freeze()
