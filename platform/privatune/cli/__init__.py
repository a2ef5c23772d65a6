"""The command line, `privatune`: over HTTP, but for `up` and the operator's commands."""


def main() -> None:
    from privatune.cli.app import app

    app(prog_name="privatune")
