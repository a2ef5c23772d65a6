"""`privatune preview`: a row as a model will see it, before anything is trained."""

import json
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
from rich.text import Text

from finetune.records.check.spec import Overflow
from finetune.records.infilling import Cut, Holes, Order, holes_in_all
from finetune.records.thinking import Asked, setting_of
from privatune.cli.check import MEMORY_MB, SECONDS, Format
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, notes, print_facts, print_json, results
from tenants import public_ids

if TYPE_CHECKING:
    from finetune.records.check.spec import CheckSpec
    from finetune.records.pieces import Preview

TRAINED, SPECIAL = "green", "cyan"
PARTS = {"prefix": "green", "suffix": "yellow", "middle": "magenta"}  # of a document with a hole
BEGIN, END = "⟦", "⟧"  # around what is trained: colours do not go through a pipe


def preview(
    file: Annotated[
        str, typer.Argument(help=f"A file here, or the id of one there ({public_ids.FILE}).")
    ],
    row: Annotated[int, typer.Option(min=1, help="Which of the usable rows, from 1.")] = 1,
    model: Annotated[str | None, typer.Option(help="The base model, for a file there.")] = None,
    model_dir: Annotated[
        Path | None,
        typer.Option(exists=True, file_okay=False, help="Its folder, for a file here."),
    ] = None,
    file_format: Annotated[
        Format, typer.Option("--format", help="What the rows of a file here are.")
    ] = "auto",
    max_length: Annotated[int | None, typer.Option(min=8, help="Longest row, in tokens.")] = None,
    overflow: Annotated[Overflow, typer.Option(help="What to do with longer rows.")] = "refuse",
    thinking: Annotated[
        Asked, typer.Option(help="Whether answers are thought about; auto: those with reasoning.")
    ] = "auto",
    fim: Annotated[
        Order | None,
        typer.Option(help="A document with a hole: the prefix first, or the suffix."),
    ] = None,
    fim_cut: Annotated[
        Cut, typer.Option(help="With --fim: where a hole may begin and end.")
    ] = "character",
    as_json: AsJson = False,
) -> None:
    """Show a row as a model will see it: every token, and which are trained.

    With --model the row of an uploaded file, as the server would train it; with --model-dir that of
    a file on this machine, without a server. Exit code 64 if the row would not be trained on.
    """
    settings = {"max_length": max_length, "overflow": overflow, "thinking": thinking}
    holes = {"fim": fim, "fim_cut": fim_cut} if fim else {}
    if model_dir is not None and model is None:
        told = _here(Path(file), model_dir, row, file_format, settings, holes_in_all(fim, fim_cut))
    elif model is not None and model_dir is None:
        asked = {"model": model, "row": row, **settings, **holes}
        told = Client.from_environment().get(f"/api/v1/files/{file}/preview", **asked)
    else:
        raise typer.BadParameter("give either --model or --model-dir", param_hint="--model")
    if as_json:
        print_json(told)
    else:
        _show(told)
    if not told["used"]:
        raise typer.Exit(Exit.DATA)


def _here(
    file: Path,
    model_dir: Path,
    number: int,
    file_format: Format,
    settings: dict[str, Any],
    holes: Holes | None,
) -> dict[str, Any]:
    from finetune.records.check.spec import CheckSpec

    if not file.is_file():
        raise typer.BadParameter(f"{file} is no file", param_hint="FILE")
    spec = CheckSpec(source=file.resolve(), source_name=file.name, format=file_format)
    with tempfile.TemporaryDirectory() as folder, notes().status(f"Reading {file.name} ..."):
        rows, row, row_format = _read(spec, Path(folder), number)
        shown = _encoded(row, row_format, model_dir.resolve(), settings, holes)
    told = {"row": number, "rows": rows, "model": model_dir.name}
    return told | {"max_length": settings["max_length"]} | shown.model_dump(mode="json")


def _read(spec: "CheckSpec", folder: Path, number: int) -> tuple[int, Any, Any]:
    """(usable rows, the row, its format), by the server's own check."""
    from finetune.records.check.child import check_in_child
    from finetune.records.check.run import ROWS
    from finetune.sandbox.levels import require

    report = check_in_child(
        spec,
        folder,
        memory_mb=MEMORY_MB,
        seconds=SECONDS,
        progress=None,
        level=require("allow-none"),  # one's own file on one's own machine
    )
    if number > report.rows_usable:
        raise Stop(
            Exit.DATA,
            f"There is no row {number}; usable rows: {report.rows_usable} of {report.rows}.",
            code="row_missing",
            fix=f"`privatune check {spec.source_name}` says what is wrong with the others.",
        )
    with (folder / ROWS).open("rb") as rows:
        line = next(islice(rows, number - 1, None))
    return report.rows_usable, json.loads(line), report.format


def _encoded(
    row: Any, row_format: Any, model_dir: Path, settings: dict[str, Any], holes: Holes | None
) -> "Preview":
    from finetune.records.check.bounds import do_without_torch
    from finetune.records.check.spec import CheckSpec

    do_without_torch()
    from finetune.records.encode import load_tokenizer
    from finetune.records.preview import Previewer

    wanted = settings | {"thinking": setting_of(cast(Asked, settings["thinking"]))}
    spec = CheckSpec(source=model_dir, source_name="", tokenizer_dir=model_dir, **wanted)
    return Previewer.of(spec, load_tokenizer(model_dir)).preview(row, row_format, holes)


def _show(told: dict[str, Any]) -> None:
    print_facts(
        {
            "row": f"{told['row']} of {told['rows']}",
            "model": told["model"],
            "tokens": f"{told['tokens']}, of which {told['trained']} trained ({BEGIN}…{END})",
            "at most": told["max_length"],
            "margin": told.get("margin"),
            "score": told.get("score"),
            "tokens not shown": str(told["hidden"]) if told["hidden"] else None,
        }
    )
    for number, pieces in enumerate(told["sequences"], 1):
        if len(told["sequences"]) > 1 or told["parts"]:
            name = told["parts"][number - 1] if told["parts"] else f"sequence {number}"
            results().print(f"\n[bold]{name}[/]")
        results().print(_text(pieces), soft_wrap=True)
    for problem in told["problems"]:
        colour = "red" if problem["severity"] == "error" else "yellow"
        line = Text(f"{problem['severity']} ", style=colour)
        place = f"{problem['field']}: " if problem["field"] else ""
        line.append(f"{place}{problem['message']} {problem['code']}\n      {problem['fix']}", "")
        results().print(line, soft_wrap=True)


def _text(pieces: list[dict[str, Any]]) -> Text:
    text, trained = Text(), False
    for piece in pieces:
        if piece["trained"] != trained:
            text.append(BEGIN if piece["trained"] else END, style="bold")
            trained = piece["trained"]
        style = PARTS.get(piece["part"], TRAINED if piece["trained"] else "")
        text.append(piece["text"], style=SPECIAL if piece["special"] else style)
    return text.append(END, style="bold") if trained else text
