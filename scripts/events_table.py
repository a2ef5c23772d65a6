"""Writes docs/reference/events.md from the tables in finetune/events/; a test keeps it current."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "events.md"

HEAD = """# Events of a job

What a job's history can say, made from `finetune/events/` by `scripts/events_table.py`. An event
of `GET /v1/fine_tuning/jobs/{id}/events` has OpenAI's fields and `code`:

```json
{"id": "ftevent-...", "object": "fine_tuning.job.event", "created_at": 1770000000, "level": "info",
 "type": "message", "code": "step_resumed", "message": "Resumed from step 5.", "data": {"step": 5}}
```

`code` and the parameters in `data` are stable; the words of `message` may change, so a program
reads the code. `data` may hold more than the parameters: that of `step_done`, whose `type` is
`metrics`, the step's figures. `code` is `null` where an older version wrote words that no code has;
a newer version may know more codes than these.

The openai package keeps `code` as an extra field: `event.code`. The portal tells an event by its
code in the person's language, the command line prints `message`.

"""
WAITS_HEAD = """
## What work waits for

`waits_for` of `job_waits`, with `about` as its parameters; a reading that waits has both in its
`error`, whose code is `waiting`. A job that waits costs nobody an attempt and goes on by itself.

| waits_for | message | about |
|---|---|---|
"""
TABLE = "| code | level | message | parameters |\n|---|---|---|---|\n"


def plural(words: str) -> str:
    """`{rows:row|rows}` as `{rows} rows`: a bar would end the table's cell."""
    return re.sub(r"\{(\w+):[^|{}]*\|([^{}]*)\}", r"{\1} \2", words)


def page() -> str:
    sys.path[:0] = [str(ROOT)]
    from finetune.events import MESSAGES
    from finetune.events.waits import WAITS

    rows = []
    for code, kind in MESSAGES.items():
        names = ", ".join(f"`{name}`" for name in kind.model_fields)
        rows.append(f"| `{code}` | {kind.level} | {plural(kind.form())} | {names} |\n")
    reasons = []
    for code, wait in WAITS.items():
        names = ", ".join(f"`{name}`" for name in wait.model_fields)
        reasons.append(f"| `{code}` | {plural(wait.words)} | {names} |\n")
    return HEAD + TABLE + "".join(rows) + WAITS_HEAD + "".join(reasons)


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
