"""How it shows that a training's memory was not enough, from within and in what it printed."""

import errno
from pathlib import Path

# torch's allocators (CPU, CUDA, Windows), its kernels' library, Rust (safetensors), C++, the system
WORDS = (
    *("can't allocate memory", "out of memory", "not enough memory"),
    *("could not create a memory", "memory allocation of", "bad_alloc", "Cannot allocate memory"),
)
LOG_BYTES = 16 << 10


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):  # torch.OutOfMemoryError says so in its words
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return any(words in str(error) for words in WORDS)


def said_so(log: Path) -> bool:
    """Whether a process that could write no error said so at the end of what it printed."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        end = file.read().decode(errors="replace")
    return any(words in end for words in WORDS)
