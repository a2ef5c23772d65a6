"""`privatune verify-certificate`: was a tenant really destroyed, and who says so? No server."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, print_facts, print_json, results
from privatune.cli.trust import GIVEN, Fingerprint, PublicKey

if TYPE_CHECKING:
    from tenants.trail.certificates import Verdict

SHOWN = ("tenant", "slug", "key_fingerprint", "key_destroyed_at", "finished_at")
TRUST = GIVEN | {"embedded": "nothing: give --key or --fingerprint to know who signed it"}


def verify_certificate(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The certificate.")],
    key: PublicKey = None,
    fingerprint: Fingerprint = None,
    as_json: AsJson = False,
) -> None:
    """Verify a deletion certificate offline. Exit code 1 if it is not what was signed.

    Without --key or --fingerprint the key inside is used: then nothing says who signed.
    """
    from tenants.trail.certificates import check_certificate
    from tenants.trail.heads import BadKey
    from tenants.trail.strict import read_json

    certificate: Any = None
    unread = None
    try:
        certificate = read_json(path.read_text("utf-8"))
    except ValueError as error:  # BadJson, or no text at all
        unread = f"This is no deletion certificate: {error}."
    try:
        pem = key.read_text("utf-8") if key else None
        verdict = check_certificate(certificate, public=pem, trusted_fingerprint=fingerprint)
    except (BadKey, UnicodeDecodeError) as error:
        raise Stop(Exit.USAGE, f"--key: {error}.", code="public_key") from error
    problem = unread or verdict.problem
    if as_json:
        found = {"signer": verdict.signer, "trust": verdict.trust, "certificate": certificate}
        print_json({"ok": problem is None, "problem": problem, **found})
    elif problem is None:
        _show(certificate, verdict)
    if problem is not None:
        stop = Stop(Exit.FAILED, problem, code="not_verified", fix="Ask the operator for it again.")
        fail(stop, as_json=as_json)


def _show(certificate: dict[str, Any], verdict: "Verdict") -> None:
    backups = certificate["backups"].get("may_hold_the_wrapped_key_until") or "not stated"
    facts = {name: certificate[name] for name in SHOWN}
    signed = {"signer": verdict.signer, "compared with": TRUST[verdict.trust]}
    print_facts(facts | certificate["destroyed"] | {"backups until": backups} | signed)
    known = "" if verdict.trust != "embedded" else ", by whoever holds that key"
    results().print(f"[green]verified[/]: it is as it was signed{known}")
