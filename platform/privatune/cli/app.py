"""The `privatune` command: every command's place, and how an error is shown."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from faults import Fault
from privatune.cli import (
    api_keys,
    artifacts,
    audit,
    evaluations,
    files,
    invitations,
    jobs,
    members,
    pipelines,
    support,
)
from privatune.cli.certificate import verify_certificate
from privatune.cli.chat import chat
from privatune.cli.check import check
from privatune.cli.estimate import estimate
from privatune.cli.exits import Exit, Stop, exit_of
from privatune.cli.operator import keys, licences, limits, models, people, tenants, waiting
from privatune.cli.operator.session import folder
from privatune.cli.output import AsJson, print_fault
from privatune.cli.preview import preview
from privatune.cli.serve import serve
from privatune.cli.verify import verify


class Commands(TyperGroup):
    """Turns what is known to go wrong into a message, a fix and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in [*ctx._protected_args, *ctx.args]
        try:
            return super().invoke(ctx)
        except Fault as fault:
            raise _ended(fault, as_json=as_json) from fault
        except BrokenPipeError:
            raise  # whoever reads has read enough (`| head`): click ends without a word
        except OSError as error:  # no space, no permission, ...
            stop = Stop(Exit.FAILED, str(error), code="os_error")
            raise _ended(stop, as_json=as_json) from error
        except KeyboardInterrupt as error:
            raise typer.Exit(Exit.INTERRUPTED) from error


def _ended(fault: Fault, *, as_json: bool) -> typer.Exit:
    print_fault(fault, as_json=as_json)
    return typer.Exit(exit_of(fault))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Fine-tune licensed models on private data, and keep the weights.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"privatune {version('privatune')}")
        raise typer.Exit


@app.callback()
def privatune(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show which this is."),
    ] = False,
) -> None:
    """Fine-tune licensed models on private data, and keep the weights."""


app.command(short_help="Check a training file, offline.")(check)
app.command(short_help="Show a row as a model will see it.")(preview)
app.command(short_help="Tell what a job would take.")(estimate)
app.add_typer(files.app, name="files")
app.add_typer(jobs.app, name="jobs")
app.add_typer(pipelines.app, name="pipelines")
app.add_typer(artifacts.app, name="artifacts")
app.command(short_help="Hold a model to a suite, beside its base.")(evaluations.evaluate)
app.add_typer(evaluations.app, name="evaluations")
app.add_typer(audit.app, name="audit")
app.add_typer(members.app, name="members")
app.add_typer(invitations.app, name="invitations")
app.add_typer(api_keys.app, name="api-keys")
app.add_typer(support.app, name="support")
app.command("verify", short_help="Verify an artifact, offline.")(verify)
app.command("verify-certificate", short_help="Verify a deletion certificate, offline.")(
    verify_certificate
)
app.command(short_help="Serve a model that was taken away, offline.")(serve)
app.command()(chat)
tenants.tenant_app.command("limits")(limits.limits)
app.add_typer(tenants.tenant_app, name="tenant")
app.add_typer(tenants.key_app, name="key")
app.add_typer(people.user_app, name="user")
app.add_typer(keys.app, name="keys")
app.add_typer(licences.app, name="license")
app.add_typer(models.app, name="models")
app.command(short_help="Operator: what work waits for.")(waiting.waiting)


@app.command(short_help="Run all of Privatune on this machine.")
def up(
    data: Annotated[
        Path, typer.Option(help="Where everything is kept.", parser=folder, metavar="PATH")
    ] = Path("var/data"),
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    samples: Annotated[
        bool, typer.Option(help="Bring a small base model and rows to try, if they are installed.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Run the whole of Privatune on this machine: web, worker and PostgreSQL.

    Ctrl-C stops everything; started again it goes on with the same data. With --json one line on
    standard output says when it is ready: base_url, api_key, tenant, login, operator, samples.
    """
    from privatune.stack import StackError
    from privatune.stack import up as run

    try:
        run(data=data, port=port, host=host, samples=samples, as_json=as_json)
    except StackError as error:
        raise Stop(Exit.FAILED, str(error), code="stack_failed") from error
