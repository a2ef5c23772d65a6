"""`python -m privatune.demo`: runs the demo; exit code 0, or 1 with the cause."""

import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "2")  # what the demo's figures are promised for

import httpx
from openai import OpenAIError
from rich.console import Console
from rich.markup import escape

from faults import Fault
from privatune.cli.exits import Exit
from privatune.demo.plans import NoSuchPlan
from privatune.demo.run import run
from privatune.demo.stack import DemoFailed

FOLDER = Path("var/demo")


def main() -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the stack, as Ctrl-C does
    console = Console(highlight=False)
    FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        run(FOLDER.resolve(), console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return Exit.INTERRUPTED
    except NoSuchPlan as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return Exit.USAGE
    except (DemoFailed, OpenAIError, Fault, httpx.HTTPError, OSError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)
        console.print(f"The stack's logs: {FOLDER / 'stack.log'} and {FOLDER / 'data' / 'logs'}")
        return Exit.FAILED
    console.print(f"[green]Done.[/] The figures: {FOLDER / 'report.json'}")
    return Exit.OK


if __name__ == "__main__":
    sys.exit(main())
