"""The collector of garbage, where collecting is not what is tested."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def cheap_collections() -> Iterator[None]:
    """Flower and the product collect garbage for every model, here with all that was imported
    and all that the tests before left on the heap."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
