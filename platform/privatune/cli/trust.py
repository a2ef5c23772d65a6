"""Whose signature is trusted: what every offline verification asks in the same words."""

from pathlib import Path
from typing import Annotated

import typer

PublicKey = Annotated[
    Path | None,
    typer.Option("--key", exists=True, dir_okay=False, help="The operator's public key (PEM)."),
]
Fingerprint = Annotated[str | None, typer.Option(help="Or only that key's fingerprint: sha256:...")]
# What a signer was compared with; each command adds its own.
GIVEN = {"key": "the key you gave", "fingerprint": "the fingerprint you gave"}
