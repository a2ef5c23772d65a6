"""`privatune check`: the server's own check of a training file, here and offline."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

from finetune.records.check.spec import Overflow
from finetune.records.thinking import Asked, setting_of
from privatune.cli.exits import Exit
from privatune.cli.output import AsJson, notes, print_facts, print_json, results, size

if TYPE_CHECKING:
    from finetune.records.check.spec import CheckReport

Format = Literal[
    "auto", "chat", "completion", "alpaca", "sharegpt", "fengshenbang", "text", "preference",
    "chosen", "rated", "prompt", "retrieval", "scored", "csv", "parquet",
]  # fmt: skip

SHOWN = 20  # problems; --json lists up to a thousand
MEMORY_MB, SECONDS = 4096, 3600


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    file_format: Annotated[Format, typer.Option("--format", help="What the rows are.")] = "auto",
    model_dir: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="A base model's folder: its tokens are counted, its template tried.",
        ),
    ] = None,
    max_length: Annotated[int | None, typer.Option(min=1, help="Longest row, in tokens.")] = None,
    overflow: Annotated[Overflow, typer.Option(help="What to do with longer rows.")] = "refuse",
    thinking: Annotated[
        Asked, typer.Option(help="Whether answers are thought about; auto: those with reasoning.")
    ] = "auto",
    columns: Annotated[
        str,
        typer.Option(
            help="What the file calls the fields, for instance: instruction=question, output=answer"
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check a training file: every problem with its line and how to mend it.

    Needs no server and sends nothing anywhere. Exit code 64 if the file cannot be trained on.
    """
    from finetune.records.check.child import check_in_child
    from finetune.records.check.columns import parse_columns
    from finetune.records.check.spec import CheckSpec
    from finetune.sandbox.levels import require

    if max_length and not model_dir:
        raise typer.BadParameter("tokens are counted with --model-dir", param_hint="--max-length")
    spec = CheckSpec(
        source=file.resolve(),
        source_name=file.name,
        format=file_format,
        tokenizer_dir=model_dir.resolve() if model_dir else None,
        max_length=_longest(model_dir, max_length) if model_dir else None,
        overflow=overflow,
        thinking=setting_of(thinking),
        columns=parse_columns(columns),
    )
    with tempfile.TemporaryDirectory() as folder, notes().status(f"Checking {file.name} ..."):
        report = check_in_child(
            spec,
            Path(folder),
            memory_mb=MEMORY_MB,
            seconds=SECONDS,
            progress=None,
            level=require("allow-none"),  # one's own file on one's own machine
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _show(report)
    if not report.ok:
        raise typer.Exit(Exit.DATA)


def _longest(model_dir: Path, asked: int | None) -> int:
    """Tokens a row may have, as the server has it for a job on this base."""
    from finetune.families import context_length
    from finetune.records.check.spec import longest_by_default

    most = context_length(model_dir)
    if asked and asked > most:
        raise typer.BadParameter(
            f"the base takes rows of at most {most} tokens", param_hint="--max-length"
        )
    return asked or longest_by_default(most)


def _show(report: "CheckReport") -> None:
    from finetune.records.check.columns import as_written

    read_as = report.format or "format unknown"
    print_facts(
        {
            "file": f"{report.source_name} ({size(report.source_bytes)}, {read_as})",
            "columns": as_written(report.columns) or None,
            "rows": f"{report.rows_usable} usable of {report.rows}",
            "chunks": report.chunks,
            "dropped": report.rows_dropped or None,
            "cut": report.rows_cut or None,
            "duplicates": report.duplicates or None,
            "tokens": _tokens(report),
        }
    )
    for problem in report.problems[:SHOWN]:
        colour = "red" if problem.severity == "error" else "yellow"
        place = f"line {problem.line}" if problem.line else "file"
        field = f", {problem.field}" if problem.field else ""
        results().print(
            f"[{colour}]{problem.severity}[/] {place}{escape(field)}: {escape(problem.message)} "
            f"[dim]{problem.code}[/]\n      {escape(problem.fix)}",
            soft_wrap=True,
        )
    found = report.errors + report.warnings
    if found > SHOWN:
        notes().print(f"{found - SHOWN} more; --json lists {len(report.problems)} of {found}.")
    results().print("[green]ready to train on[/]" if report.ok else "[red]cannot be trained on[/]")


def _tokens(report: "CheckReport") -> str | None:
    if report.tokens_total is None:
        return None
    lengths = ", ".join(f"{name} {count}" for name, count in report.length_percentiles.items())
    return f"{report.tokens_total}, of which {report.tokens_trained} trained; a row: {lengths}"
