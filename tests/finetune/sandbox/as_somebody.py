"""Run as an unprivileged user by test_unprivileged: what each level gives, as JSON."""

import json
import os
import sys
from pathlib import Path

from finetune.sandbox.levels import Level, attempt
from finetune.sandbox.room import Room
from finetune.sandbox.start import start

BOMB = """
import os, time
made = 0
try:
    while made < 200:
        if os.fork() == 0:
            time.sleep(600)
        made += 1
except BlockingIOError:
    print(made, flush=True)
time.sleep(600)
"""


def main(here: Path) -> None:
    (here / "bomb.py").write_text(BOMB)
    told = {}
    environment = {"PYTHONPATH": os.environ["PYTHONPATH"] + f":{here}", "HOME": str(here)}
    for level in (Level.BUBBLEWRAP, Level.NAMESPACES):
        room = Room(read=(here.parent,), write=(here,), tasks=50)
        probe = start(level, room, "probe", [str(here)], cwd=here, environment=environment)
        said, _ = probe.process.communicate()
        probe.kill()
        bomb = start(level, room, "bomb", [], cwd=here, environment=environment)
        assert bomb.process.stdout is not None
        forks = bomb.process.stdout.readline().decode()
        bomb.kill()
        told[level.value] = {
            "uid": os.geteuid(),
            "attempt": attempt(level),
            "said": said.decode(),
            "got": json.loads((here / "seen.json").read_bytes())["got"],
            "forks": int(forks),
        }
        (here / "seen.json").unlink()
    print(json.dumps(told))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
