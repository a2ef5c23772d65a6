"""`privatune verify-certificate`: was a tenant really destroyed, and who says so? No server."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, fail, print_facts, print_json, results
from privatune.cli.trust import Fingerprint, PublicKey

SHOWN = ("tenant", "slug", "key_fingerprint", "key_destroyed_at", "finished_at", "signer")


def verify_certificate(
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The certificate.")],
    key: PublicKey = None,
    fingerprint: Fingerprint = None,
    as_json: AsJson = False,
) -> None:
    """Verify a deletion certificate offline. Exit code 1 if it is not what was signed.

    Without --key or --fingerprint the key inside is used: then nothing says who signed.
    """
    from tenants.trail.certificates import problem_of
    from tenants.trail.heads import BadKey

    try:
        certificate = json.loads(path.read_text("utf-8"))
    except ValueError:
        certificate = None
    pem = key.read_text("utf-8") if key else None
    try:
        problem = problem_of(certificate, public=pem, trusted_fingerprint=fingerprint)
    except BadKey as error:
        raise Stop(Exit.USAGE, f"--key: {error}.", code="public_key") from error
    if as_json:
        print_json({"ok": problem is None, "problem": problem, "certificate": certificate})
    elif problem is None:
        backups = certificate["backups"]["may_hold_the_wrapped_key_until"] or "not stated"
        facts = {name: certificate[name] for name in SHOWN}
        print_facts(facts | certificate["destroyed"] | {"backups until": backups})
        results().print("[green]verified[/]: it is as it was signed")
    if problem is not None:
        stop = Stop(Exit.FAILED, problem, code="not_verified", fix="Ask the operator for it again.")
        fail(stop, as_json=as_json)
