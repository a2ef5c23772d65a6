"""The process's peak memory, on the GPU if it has one."""

import resource

import torch


def peak_memory_mb() -> int:
    """Megabytes (2^20): resident on CPU, or allocated on the GPU if that is more."""
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10  # Linux counts kilobytes
    device = torch.cuda.max_memory_allocated() >> 20 if torch.cuda.is_available() else 0
    return max(host, device)
