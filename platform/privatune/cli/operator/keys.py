"""`privatune keys`: the installation's master and signing keys, made by nothing else."""

import os
from pathlib import Path
from typing import Any

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.operator.session import DataFolder, services, show
from privatune.cli.output import AsJson

app = typer.Typer(no_args_is_help=True, help="Operator: the installation's own keys.")


@app.command("init")
def init_keys(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Make the master key and the signing key where the settings say, once. Back both up.

    Refuses when one of them is there. `privatune up` does this by itself for an empty data folder.
    """
    if data is not None:
        os.environ["PRIVATUNE_DATA"] = str(data.resolve())
    from privatune.env import Missing, read
    from privatune.keys import KeysExist, make_keys

    try:
        made = make_keys(
            master_uri=read("PRIVATUNE_MASTER_KEY"),
            signing=Path(read("PRIVATUNE_SIGNING_KEY")),
            public=Path(read("PRIVATUNE_SIGNING_PUBLIC_KEY")),
        )
    except Missing as error:
        raise Stop(Exit.USAGE, str(error), code="setting_missing") from error
    except KeysExist as error:
        raise Stop(
            Exit.FAILED,
            f"{error}. Nothing was made: over an old key, everything under it would be lost.",
            code="keys_exist",
            fix="use the keys that are there; for a new installation give paths that are free.",
        ) from error
    _show({each.what: (str(each.path), each.fingerprint) for each in made}, as_json)


@app.command("register")
def register_keys(data: DataFolder = None, as_json: AsJson = False) -> None:
    """Write the keys' fingerprints into the database, once; no process starts with other keys."""
    with services(data, gate=False):
        from tenants.services import key_prints
        from tenants.vault.errors import KeyUnavailable

        try:
            written = key_prints.register()
        except KeyUnavailable as error:
            raise Stop(Exit.FAILED, error.message, code="wrong_key", fix=error.fix) from error
        keys = written or key_prints.present()
    _show({f"{key.name} key": (key.place, key.fingerprint) for key in keys}, as_json)


def _show(keys: dict[str, tuple[str, str]], as_json: bool) -> None:
    facts: dict[str, Any] = {}
    for what, (place, fingerprint) in keys.items():
        facts[what.replace(" ", "_") if as_json else what] = (
            {"place": place, "fingerprint": fingerprint} if as_json else f"{place}  {fingerprint}"
        )
    show(facts, as_json=as_json)
