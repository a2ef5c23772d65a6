"""`privatune verify`: is this artifact whole, and who signed it? Needs no server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, print_facts, print_json, results, size
from privatune.cli.trust import GIVEN, Fingerprint

if TYPE_CHECKING:
    from finetune.packaging.verify import VerifyReport


TRUST = GIVEN | {
    "embedded": "nothing: give --key to know who signed it",
}
FETCHED = "the key that the server gave with it; ask the operator whether it is theirs"


def verify(
    path: Annotated[Path, typer.Argument(exists=True, help="An artifact's folder or .tar.")],
    key: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="The operator's public key (PEM). Without it the key in the artifact is used, "
            "which proves that nothing changed since it was signed, not by whom.",
        ),
    ] = None,
    fingerprint: Fingerprint = None,
    as_json: AsJson = False,
) -> None:
    """Verify an artifact offline: every file, nothing added, the signature. Exit code 1 if not."""
    from finetune.packaging.verify import verify as verify_bundle

    pem = key.read_text(encoding="utf-8") if key else None
    report = verify_bundle(path, pem, trusted_fingerprint=fingerprint)
    show(report, compared=TRUST[report.trust], as_json=as_json)


def verify_fetched(path: Path, key: Path, *, as_json: bool) -> None:
    """As `verify`, of what came from a server together with its key."""
    from finetune.packaging.verify import verify as verify_bundle

    show(verify_bundle(path, key.read_text(encoding="utf-8")), compared=FETCHED, as_json=as_json)


def show(report: "VerifyReport", *, compared: str, as_json: bool) -> None:
    """Prints the report and what the signer was `compared` with; ends the command with exit code 1
    if the artifact is not whole."""
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        print_facts(
            {
                "digest": report.digest,
                "files": f"{report.files}, {size(report.bytes)}",
                "signer": report.signer,
                "compared with": compared,
            }
        )
        for problem in report.problems:
            results().print(f"[red]{escape(str(problem))}[/]", soft_wrap=True)
        if report.ok:
            results().print("[green]verified[/]: every file is as it was signed, nothing added")
    if not report.ok:
        stop = Stop(
            Exit.FAILED,
            "This artifact is not what was signed.",
            code="not_verified",
            fix="fetch it again: privatune artifacts pull ID",
        )
        fail(stop, as_json=as_json)
