"""A long-running module in a room: `python -m finetune.sandbox --read DIR --write DIR MODULE ARGS`.

Becomes the module's keeper: SIGTERM goes in, the exit code comes out, and it ends with whoever
started it. PRIVATUNE_SANDBOX says whether it may run where no isolation is to be had; otherwise the
exit code is 70 and nothing is started.
"""

import argparse
import logging
import os
import sys
from pathlib import Path

from faults import OurFault
from finetune.sandbox.levels import command, kept, require
from finetune.sandbox.room import Room, machine_memory_mb, tree_memory_mb
from finetune.states import ExitCode


def main(argv: list[str] | None = None) -> int:
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        level = require(os.environ.get("PRIVATUNE_SANDBOX") or "require")
    except OurFault as fault:
        print(f"{fault.code}: {fault} {fault.fix or ''}", file=sys.stderr)
        return ExitCode.OURS
    print(f"{options.module}: isolation: {level}", file=sys.stderr, flush=True)
    for folder in options.write:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    room = Room(
        read=tuple(options.read),
        write=tuple(options.write),
        memory_mb=machine_memory_mb(),
        tree_mb=tree_memory_mb(),
    )
    line = command(level, room, options.module, options.arguments, cwd=Path("/"))
    os.environ.setdefault("HOME", "/tmp")  # noqa: S108  its own; there is no passwd file to ask
    os.environ.setdefault("USER", "privatune")
    line = kept(line, room, lifeline=-1)
    os.execv(line[0], line)


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m finetune.sandbox", description=__doc__)
    parser.add_argument("--read", type=Path, action="append", default=[], help="may be repeated")
    parser.add_argument("--write", type=Path, action="append", default=[], help="may be repeated")
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
