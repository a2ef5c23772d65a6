"""Imports of what a family runs on (torch, transformers, peft): a third less time for them."""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing(module: str) -> Iterator[None]:
    """Around the import of `module`, which brings them; does nothing where it is there already.

    They make a million objects that stay as long as the process. While they come there is no
    garbage worth collecting (1.8 of 5.7 seconds went by in the search for it), and afterwards no
    collection looks at them again.
    """
    if module in sys.modules:
        yield
        return
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        if collects:
            gc.enable()
