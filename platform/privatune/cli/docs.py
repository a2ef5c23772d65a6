"""`python -m privatune.cli.docs`: docs/reference/cli.md, made from the commands themselves."""

import sys

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from privatune.cli.app import app
from privatune.cli.exits import MEANING

INTRODUCTION = """\
# The command line

`privatune` talks to a Privatune server over HTTP. Some commands need neither server nor key:
`check` and `verify` work offline, and `up` is the server. The operator's commands (`tenant`, `key`,
`keys`, `user`, `license`, `models`) work on the database of a data folder; `models list` shows who
has a key only what the key may use. `members`, `invitations`, `api-keys` and `support` are an
organisation's own, by a key of theirs.

This page is made from the commands by `python -m privatune.cli.docs`; a test keeps it current.

## Settings

* `PRIVATUNE_BASE_URL`: where the server is, with or without `/v1`. Default: `http://127.0.0.1:8000`.
* `PRIVATUNE_API_KEY`: your key. `privatune up` shows one.

## Output

Results go to standard output; progress, hints and errors to standard error. With `--json`
standard output carries JSON only: the object or list as the API returns it, or
`{"error": {"code", "message", "where", "fix", "param"}}`. `jobs watch --json` writes one line of
JSON for each event as it comes, and the job last. A new secret or link is shown once, alone on
standard output: `privatune api-keys create --name ci > ci.key` keeps it and nothing else.

A list is a table in a terminal; in a pipe or a file it is lines of values between tabs, headings
first, and nothing is cut: `privatune artifacts list | cut -f 1`.

## Completion

`privatune --install-completion` adds it to the bash, zsh or fish that it is called from; it works
in the next terminal. `privatune --show-completion` prints what would be added.

## Exit codes

"""


def page() -> str:
    """The whole page as Markdown."""
    command = get_command(app)
    context = typer.Context(command, info_name="privatune")
    commands = get_docs_for_click(obj=command, ctx=context, indent=1, name="privatune")
    codes = "".join(f"* `{int(code)}`: {meaning}\n" for code, meaning in MEANING.items())
    return f"{INTRODUCTION}{codes}\n{commands.strip()}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
