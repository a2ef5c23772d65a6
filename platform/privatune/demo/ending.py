"""How a demo ends: with its figures, or with the cause why there are none; everything stopped."""

import signal
from collections.abc import Callable
from pathlib import Path

import httpx
from openai import OpenAIError
from rich.console import Console
from rich.markup import escape

from faults import Fault
from privatune.cli.exits import Exit
from privatune.demo.plans import NoSuchPlan
from privatune.demo.stack import DemoFailed


def end_to_end(run: Callable[[Path, Console], object], folder: Path) -> int:
    """The exit code: 0, or 1 with the cause on the screen."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # stops the stack, as Ctrl-C does
    console = Console(highlight=False)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        run(folder.resolve(), console)
    except KeyboardInterrupt:
        console.print("Stopped.")
        return Exit.INTERRUPTED
    except NoSuchPlan as error:
        console.print(f"[red]{escape(str(error))}[/]", soft_wrap=True)
        return Exit.USAGE
    except (DemoFailed, OpenAIError, Fault, httpx.HTTPError, OSError) as error:
        console.print(f"[red]The demo failed:[/] {escape(str(error))}", soft_wrap=True)
        console.print(f"The stack's logs: {folder / 'stack.log'} and {folder / 'data' / 'logs'}")
        return Exit.FAILED
    console.print(f"[green]Done.[/] The figures: {folder / 'report.json'}")
    return Exit.OK
