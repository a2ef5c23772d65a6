"""`privatune audit`: take the audit trail away, and check it offline."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, notes, print_facts, print_json, results, size
from privatune.cli.trust import GIVEN, Fingerprint, PublicKey

if TYPE_CHECKING:
    from tenants.trail.verify import Report

app = typer.Typer(no_args_is_help=True, help="Export the audit trail, and verify it offline.")

EXPORT = "/api/v1/audit/export"
TRUST = GIVEN | {
    "since": "the signer of the earlier export",
    "embedded": "nothing: give --key, --fingerprint or --since to know who signed it",
}


@app.command("export")
def export_trail(
    output: Annotated[
        Path, typer.Option("--output", "-o", dir_okay=False, help="The file to write.")
    ] = Path("audit.jsonl"),
    as_json: AsJson = False,
) -> None:
    """Fetch the whole audit trail as JSON lines, with the operator's signed heads.

    Keep what you fetch: `verify --since` then shows whatever was cut off or rewritten later.
    """
    partial = output.with_name(f".{output.name}.part")
    output.parent.mkdir(parents=True, exist_ok=True)
    try:
        with Client.from_environment().stream("GET", EXPORT) as response, partial.open("wb") as to:
            for chunk in response.iter_bytes():
                to.write(chunk)
        os.replace(partial, output)
    finally:
        partial.unlink(missing_ok=True)
    if as_json:
        print_json({"path": str(output), "bytes": output.stat().st_size})
    else:
        notes().print(f"{output} written, {size(output.stat().st_size)}")


@app.command("verify")
def verify_trail(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="An export.")],
    since: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="An earlier export, or heads that you kept."
        ),
    ] = None,
    key: PublicKey = None,
    fingerprint: Fingerprint = None,
    as_json: AsJson = False,
) -> None:
    """Verify an exported audit trail offline: chain, signed heads, and what was exported before.

    Exit code 1 if anything was edited, deleted, reordered, cut off or rewritten.
    """
    from tenants.trail.verify import verify_export

    try:
        with path.open(encoding="utf-8") as lines:
            if since is None:
                report = verify_export(
                    lines, public_key=_text(key), trusted_fingerprint=fingerprint
                )
            else:
                with since.open(encoding="utf-8") as earlier:
                    report = verify_export(
                        lines,
                        public_key=_text(key),
                        trusted_fingerprint=fingerprint,
                        since=earlier,
                    )
    except ValueError as error:  # BadKey, text that is none, an earlier file with nothing in it
        raise Stop(Exit.USAGE, f"This cannot be checked: {error}", code="audit_input") from error
    _show(report, compared=since is not None, as_json=as_json)


def _text(path: Path | None) -> str | None:
    return path.read_text(encoding="utf-8") if path else None


def _show(report: "Report", *, compared: bool, as_json: bool) -> None:
    if as_json:
        print_json(report.as_dict())
    else:
        print_facts(
            {
                "tenant": report.tenant,
                "entries": report.entries,
                "signed to entry": f"{report.signed_to} ({report.heads} heads)",
                "signer": report.signer,
                "compared with": TRUST[report.trust],
            }
        )
        for problem in report.problems:
            results().print(f"[red]{escape(problem.message)}[/]", soft_wrap=True)
        if report.ok:
            results().print(_verified(report, compared), soft_wrap=True)
    if not report.ok:
        stop = Stop(
            Exit.FAILED,
            "This audit trail is not what was written.",
            code="not_verified",
            fix="fetch it again with `privatune audit export`; if it stays so, ask the operator "
            "and keep both files.",
        )
        fail(stop, as_json=as_json)


def _verified(report: "Report", compared: bool) -> str:
    """How far the word reaches: an export cut off at an older signed head is whole, up to there."""
    words = (
        f"[green]verified[/] up to entry {report.signed_to}: each is where and as it was written"
    )
    if report.entries > report.signed_to:
        words += f"; those up to {report.entries} are chained, and no signed head covers them yet"
    if not compared:
        words += (
            ". Whether later ones were cut off, --since an export or a head that you kept tells"
        )
    return words
