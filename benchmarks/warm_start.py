"""From the start of a training to its end, where there is next to nothing to train: forked from a
process that has loaded the libraries, beside the same executed, which loads them itself.

    python benchmarks/warm_start.py [--turns 7]

Ten steps of a random model of 34,000 parameters, in its sandbox, as a worker starts it; the two in
turns, one thread, medians. The first fork, which waits until its zygote has loaded, is told apart.
Nothing else should run on the machine: times are by the clock.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from finetune.sandbox import start  # noqa: E402
from finetune.sandbox.levels import Level  # noqa: E402
from finetune.work import launcher  # noqa: E402
from tests.finetune.trainer.runs import make_run, result_hash  # noqa: E402
from tests.tiny import build_tiny_base  # noqa: E402

CAN_FORK = start.warm.can_fork


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        base = build_tiny_base(folder / "base")
        first = seconds(folder / "run", base, forked=True)[0]
        told: dict[bool, list[tuple[float, str]]] = {True: [], False: []}
        for _ in range(options.turns):
            for forked, taken in told.items():
                taken.append(seconds(folder / "run", base, forked=forked))
    same = len({digest for times in told.values() for _, digest in times}) == 1
    forked, executed = (statistics.median(taken for taken, _ in told[way]) for way in (True, False))
    print(f"the first, which waits for its zygote: {first:.2f} s")
    print(f"executed {executed:.2f} s, forked {forked:.2f} s: {executed / forked:.1f}x as fast")
    print(f"the results are {'the same' if same else 'NOT the same'}, byte for byte")
    sys.exit(0 if same else 1)


def seconds(run_dir: Path, base: Path, *, forked: bool) -> tuple[float, str]:
    """(how long it took, the SHA-256 of what came of it)."""
    shutil.rmtree(run_dir, ignore_errors=True)
    make_run(run_dir, base)
    start.warm.can_fork = CAN_FORK if forked else lambda level: False
    begun = time.perf_counter()
    child = launcher.launch_trainer(run_dir, threads=1, level=Level.NAMESPACES)
    code = child.process.wait()
    taken = time.perf_counter() - begun
    child.kill()
    assert code == 0, (run_dir / "trainer.log").read_text()
    return taken, result_hash(run_dir)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=7, help="of each of the two")
    return parser.parse_args()


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main()
