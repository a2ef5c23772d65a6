"""Where a command's words go: results on standard output, everything else on standard error.

With --json standard output carries JSON only, errors too ({"error": {...}}).
"""

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from faults import Fault
from privatune.cli.exits import Stop
from privatune.cli.visible import VisibleConsole, json_visible, visible

AsJson = Annotated[
    bool, typer.Option("--json", help="Machine output: JSON on standard output, nothing else.")
]


def notes() -> Console:
    """Progress, hints and errors. Made anew, so that a redirected stream is honoured."""
    return VisibleConsole(stderr=True, highlight=False)


def results() -> Console:
    return VisibleConsole(highlight=False)


def print_json(value: Any) -> None:
    said = json.dumps(value, ensure_ascii=False, default=str)
    sys.stdout.write(json_visible(said) + "\n")
    sys.stdout.flush()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Aligned in a terminal; in a pipe or a file a line each, its values between tabs."""
    cells = [["" if cell is None else visible(str(cell)) for cell in row] for row in rows]
    console = results()
    if not console.is_terminal:
        for line in ([str(name) for name in columns], *cells):
            sys.stdout.write("\t".join(map(_on_one_line, line)) + "\n")
        return
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in cells:
        table.add_row(*map(escape, row))
    needed = Measurement.get(console, console.options.update(max_width=10_000), table).maximum
    # A narrow terminal wraps the lines: an identifier that is cut opens nothing
    Console(highlight=False, width=needed).print(table, crop=False)


def _on_one_line(cell: str) -> str:
    return " ".join(re.split(r"[\t\r\n]", cell))


def on_one_line(text: str, most: int) -> str:
    """Words that nobody of us wrote, at the beginning: no sign among them steers a terminal."""
    plain = "".join(sign if sign.isprintable() else " " for sign in text[: most + 1])
    return plain if len(plain) <= most else f"{plain[:most]}…"


def print_facts(facts: dict[str, Any], *, to: Console | None = None) -> None:
    """One `name  value` line each, on standard output or `to`; what is None is left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    width = max((len(name) for name in known), default=0)
    console = to or results()
    for name, value in known.items():
        console.print(f"[bold]{escape(name.ljust(width))}[/]  {escape(str(value))}", soft_wrap=True)


def print_secret(secret: str) -> None:
    """What is shown once: alone on standard output, so that it can be piped on as it is."""
    sys.stdout.write(f"{secret}\n")
    sys.stdout.flush()


def moment(told: str | None) -> str | None:
    """A time of our own API as people read it, in UTC."""
    return when(datetime.fromisoformat(told).timestamp()) if told else None


def print_fault(fault: Fault, *, as_json: bool) -> None:
    if as_json:
        print_json({"error": fault.fields()})
    console = notes()
    where = f" ({fault.where})" if fault.where else ""
    console.print(f"[red]{escape(fault.message)}[/]{escape(where)}", soft_wrap=True)
    if fault.fix:
        console.print(f"Fix: {escape(fault.fix)}", soft_wrap=True)


def fail(stop: Stop, *, as_json: bool) -> NoReturn:
    """End badly after a result was shown: in JSON that result says it all already."""
    if as_json:
        raise typer.Exit(stop.exit_code)
    raise stop


def when(seconds: float | None) -> str | None:
    """A UNIX time as people read it, in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: float | None) -> str | None:
    """Bytes as people read them; 1 kB is 1024 bytes, as in the portal and the settings."""
    if count is None:
        return None
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1024 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return None
