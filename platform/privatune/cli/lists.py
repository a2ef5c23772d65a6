"""The one frame of every command that lists: how many, as a table or as JSON."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import typer

from privatune.cli.output import print_json, print_table

Limit = Annotated[int, typer.Option(min=1, help="At most so many, newest first.")]

Row = dict[str, Any]
# A heading, and the field that stands below it or how the cell is made from the row.
Columns = Mapping[str, str | Callable[[Row], Any]]


def show_list(rows: Iterable[Row], columns: Columns, *, as_json: bool) -> None:
    """JSON has the rows whole, as `{"data": [...]}`."""
    found = list(rows)
    if as_json:
        return print_json({"data": found})
    print_table(list(columns), [[_cell(row, of) for of in columns.values()] for row in found])
    return None


def _cell(row: Row, of: str | Callable[[Row], Any]) -> Any:
    return of(row) if callable(of) else row.get(of)
