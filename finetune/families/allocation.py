"""How the C library of a process that trains keeps what is freed, for the next step to have."""

import ctypes

# mallopt(3), malloc.h
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

LARGEST_KEPT = 32 << 20  # bytes: glibc takes no more, and gives larger blocks back at once
THREADS_HEAP = 64 << 20  # bytes: of a thread, as glibc makes them; with so much to spare none ends
NEVER = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Freed blocks of up to 32 MB stay with the process; False where there is no glibc.

    A step frees what the next one needs again. By default glibc gives much of it back, and that is
    what threads side by side wait for: pages are taken away from all cores at once, and each is
    cleared when it comes again.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    settings = (
        (M_MMAP_THRESHOLD, LARGEST_KEPT),
        (M_TRIM_THRESHOLD, NEVER),
        (M_TOP_PAD, THREADS_HEAP),
    )
    return all(mallopt(name, value) for name, value in settings)
