"""`privatune user`: access for people who have lost it."""

from typing import Annotated

import typer

from privatune.cli.operator.session import DataFolder, actor, services, show
from privatune.cli.output import AsJson

user_app = typer.Typer(no_args_is_help=True, help="Operator: people's access.")


@user_app.callback()
def people() -> None:
    """Operator: people's access."""


@user_app.command("reset")
def reset(
    email: Annotated[str, typer.Argument(help="The account's e-mail address.")],
    second_factor: Annotated[
        bool, typer.Option("--second-factor", help="Forget the second factor as well.")
    ] = False,
    data: DataFolder = None,
    as_json: AsJson = False,
) -> None:
    """Give somebody a fresh password, shown once. It ends every session of the account, and every
    organisation the person belongs to sees it in its audit log."""
    with services(data):
        from privatune.people import recovery

        password = recovery.reset(email=email, second_factor=second_factor, actor=actor())
        facts = {"login": {"email": email, "password": password}}
    show(facts, as_json=as_json)
