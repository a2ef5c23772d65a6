"""Writes docs/reference/settings.md from the list in privatune/env.py; a test keeps it current."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "settings.md"

HEAD = """# Settings

Every environment variable that the server reads; made by `scripts/settings_table.py`.

Any variable marked *secret* can also be given as a file: set `NAME_FILE` to its path (container
secrets). With `PRIVATUNE_DATA` pointing at a data folder that `privatune up` has made, what is
absent is filled in from that folder.

| variable | meaning | default |
|---|---|---|
"""


def page() -> str:
    sys.path[:0] = [str(ROOT / "platform")]
    from privatune.env import VARIABLES

    rows = []
    for variable in VARIABLES:
        meaning = variable.meaning + (" *Secret.*" if variable.secret else "")
        default = "required" if variable.default is None else f"`{variable.default}`"
        if variable.default == "":
            default = "empty"
        rows.append(f"| `{variable.name}` | {meaning} | {default} |")
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
