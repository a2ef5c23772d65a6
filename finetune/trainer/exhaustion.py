"""How it shows that a training's memory was not enough, from within and in what it printed."""

import errno
from pathlib import Path

# In lower case: torch's allocators (CPU, CUDA, Windows), its kernels' library, Rust (safetensors,
# and bytes that Python had no room for), C++, the system, and a thread's stack and own data
WORDS = (
    *("can't allocate memory", "out of memory", "not enough memory"),
    *("could not create a memory", "memory allocation of", "pyobject pointer is null"),
    *("bad_alloc", "cannot allocate memory", "can't start new thread"),
)
LOG_BYTES = 16 << 10


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):  # torch.OutOfMemoryError says so in its words
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    return _says_so(str(error))


def said_so(log: Path) -> bool:
    """Whether a process that could write no error said so at the end of what it printed."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_BYTES))
        return _says_so(file.read().decode(errors="replace"))


def _says_so(text: str) -> bool:
    lower = text.lower()
    return any(words in lower for words in WORDS)
