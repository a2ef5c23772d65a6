"""`python -m privatune.demo`: runs the demo; exit code 0, or 1 with the cause."""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # what the demo's figures are promised for

from privatune.demo.ending import end_to_end
from privatune.demo.run import run

FOLDER = Path("var/demo")


if __name__ == "__main__":
    sys.exit(end_to_end(run, FOLDER))
