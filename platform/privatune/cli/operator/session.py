"""What every operator command needs: Django set up for a data folder, and who acts.

They need the database: that of a running `privatune up` (--data), or DATABASE_URL and its kin.
"""

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.output import print_facts, print_json
from tenants.actor import Actor


def folder(given: str | Path) -> Path:
    """An empty name, as a variable that is not set leaves it, would be the folder one stands in."""
    if given == "":
        raise typer.BadParameter("the folder's name is empty")
    return Path(given)


DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data",
        help="The folder of a running `privatune up`; else PRIVATUNE_DATA.",
        parser=folder,
        metavar="PATH",
    ),
]
TenantSlug = Annotated[str, typer.Option("--tenant", help="The tenant's short name.")]


@contextmanager
def services(data: Path | None, *, gate: bool = True) -> Iterator[None]:
    """Django, set up for the data folder; a database that is not there is one clear line, and so
    are one of another version and keys that are not the installation's (`gate`)."""
    if data is not None:
        os.environ["PRIVATUNE_DATA"] = str(data.resolve())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
    import django

    from privatune.env import Missing

    try:
        django.setup()
    except Missing as error:
        raise _no_settings(data, error) from error
    from django.db import OperationalError, ProgrammingError

    from privatune.gate import check
    from tenants.database.schema import WrongSchema
    from tenants.vault.errors import KeyUnavailable

    try:
        if gate:
            check()
        yield
    except (KeyUnavailable, WrongSchema) as error:
        raise Stop(Exit.FAILED, error.message, code=error.code, fix=error.fix) from error
    except (OperationalError, ProgrammingError) as error:
        reason = str(error).strip().splitlines()[0]
        raise Stop(
            Exit.UNAVAILABLE,
            f"The database cannot be used: {reason}",
            code="database_unavailable",
            fix="start `privatune up --data DIR` and give the same --data DIR here, or check "
            "DATABASE_URL.",
        ) from error


def _no_settings(data: Path | None, error: Exception) -> Stop:
    start = "start `privatune up --data DIR` and give the same --data DIR here."
    if data is None:
        return Stop(
            Exit.USAGE,
            f"This is a command of the operator, on the server's own machine. {error}",
            code="setting_missing",
            fix=f"{start} What customers do, they do with PRIVATUNE_API_KEY.",
        )
    return Stop(
        Exit.USAGE,
        f"{data} is not the data folder of an installation.",
        code="data_folder_unknown",
        fix=start,
    )


def actor() -> Actor:
    return Actor.operator(getpass.getuser())


def show(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(facts)
    login = facts.pop("login", None)
    if login:
        facts |= {"login": login["email"], "password": login["password"]}
    readable = {k: " ".join(v) if isinstance(v, list) else v for k, v in facts.items()}
    print_facts(readable)
    return None
