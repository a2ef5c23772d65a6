"""Run by test_launcher as the launched module: writes what such a process can see to seen.json."""

import json
import os
import socket
import sys
from pathlib import Path


def main(folder: Path) -> None:
    descriptors = [Path(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    seen = {
        "env": dict(os.environ),
        "network": _reaches(int((folder / "port").read_text())),
        "session": os.getsid(0),
        "pid": os.getpid(),
        "cwd": os.getcwd(),
        "open": [os.readlink(path) for path in descriptors if path.exists()],
    }
    (folder / "seen.json").write_text(json.dumps(seen))


def _reaches(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main(Path(sys.argv[1]))
