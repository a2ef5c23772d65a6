"""What a training step frees, the next one has again without the system's help."""

import subprocess
import sys

import pytest

from tests.fixtures.stack import ROOT

FAULTS = """
import resource, sys, threading
from finetune.families.allocation import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()

def steps():
    global faults
    for number in range(20):
        if number == 10:
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        blocks = [bytearray(b"x") * (size << 20) for size in (20, 5, 9, 30)]
        del blocks
    faults = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

lane = threading.Thread(target=steps)
lane.start()
lane.join()
print(faults)
"""


def faults(how: str) -> int:
    """Pages that ten steps of 64 MB in a thread had to be given anew."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS, how], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt")
def test_freed_memory_stays_for_the_next_step() -> None:
    kept, given_back = faults("kept"), faults("plain")
    assert given_back > 100, "glibc keeps it by itself: nothing need be done any more"
    assert kept < given_back / 10
