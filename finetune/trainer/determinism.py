"""Whether the same run gives the same bits: asked of torch for every operation, and told where it
says that it has no deterministic algorithm. Attention's backward on a GPU is the known case: the
fused kernels of torch are deterministic only under `strict`, and slower.
"""

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from faults import OurFault

MOST = 20  # operations that are told; a run has a handful of kernels
LONGEST = 200  # characters of each
_ABOUT_IT = re.compile(r"determinis", re.IGNORECASE)


@contextmanager
def watched(*, strict: bool) -> Iterator[list[str]]:
    """Gives the operations that had no deterministic algorithm, in torch's words, as they run.

    `strict`: the first such operation raises OurFault `not_deterministic` instead.
    """
    found: list[str] = []
    before = torch.are_deterministic_algorithms_enabled()
    only_warned = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=not strict)
    # cuDNN's attention has no deterministic backward; torch then takes another kernel
    torch.backends.cuda.enable_cudnn_sdp(False)
    with warnings.catch_warnings():
        # Each time and not once a place: a later run of this process must see it, too
        warnings.filterwarnings("always", message=r".*[dD]eterminis")
        show = warnings.showwarning

        def note(message: Warning | str, *where: object) -> None:
            if _ABOUT_IT.search(str(message)) is None:
                show(message, *where)  # type: ignore[arg-type]
                return
            operation = _operation(str(message))
            if operation not in found and len(found) < MOST:
                found.append(operation)
                show(message, *where)  # type: ignore[arg-type]

        warnings.showwarning = note  # type: ignore[assignment]
        try:
            yield found
        except RuntimeError as error:
            if strict and "deterministic" in str(error):
                raise _refused(_operation(str(error))) from error
            raise
        finally:
            torch.use_deterministic_algorithms(before, warn_only=only_warned)


def _operation(text: str) -> str:
    """The first clause of what torch says, which names the operation and quotes no data."""
    return re.split(r", but you set|\. ", text, maxsplit=1)[0].rstrip(".")[:LONGEST]


def _refused(operation: str) -> OurFault:
    return OurFault(
        "not_deterministic",
        f"The training is to be deterministic, and an operation is not: {operation}.",
        fix="Train on another device, or without PRIVATUNE_STRICT_DETERMINISM.",
    )
