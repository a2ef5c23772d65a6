"""Writes docs/reference/settings.md from the list in privatune/env.py; a test keeps it current."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "settings.md"

HEAD = """# Settings

Every environment variable that the server reads; made by `scripts/settings_table.py`.

Any variable marked *secret* can also be given as a file: set `NAME_FILE` to its path (container
secrets). With `PRIVATUNE_DATA` pointing at a data folder that `privatune up` has made, what is
absent is filled in from its `secrets/<process>.json`, which holds what that process may know.

`PRIVATUNE_PROCESS` says what a process is. Reading a variable that the process must not know is an
error, and a web, worker or trainer that finds one in its environment does not start. Serving reads
`PRIVATUNE_SANDBOX` alone.

| variable | meaning | default | known to |
|---|---|---|---|
"""


def page() -> str:
    sys.path[:0] = [str(ROOT / "platform")]
    from privatune.env import DJANGO, VARIABLES

    rows = []
    for variable in VARIABLES:
        meaning = variable.meaning + (" *Secret.*" if variable.secret else "")
        default = "required" if variable.default is None else f"`{variable.default}`"
        if variable.default == "":
            default = "empty"
        known = "all" if variable.known_to == DJANGO else ", ".join(sorted(variable.known_to))
        rows.append(f"| `{variable.name}` | {meaning} | {default} | {known} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
