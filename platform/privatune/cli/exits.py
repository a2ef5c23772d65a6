"""How a `privatune` command ends: the documented exit codes, and the one error it shows."""

from enum import IntEnum

from faults import Fault, UserFault


class Exit(IntEnum):
    """What the shell gets to see. `MEANING` is what docs/reference/cli.md says about each."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    REFUSED = 4
    UNAVAILABLE = 5
    DATA = 64
    INTERRUPTED = 130


MEANING = {
    Exit.OK: "Done.",
    Exit.FAILED: "A job or an evaluation failed or was cancelled, a model does not reach what "
    "`evaluate` was told it must, an artifact is not what was signed, or `up` or a file operation "
    "on this machine failed.",
    Exit.USAGE: "The command line is wrong, or a setting such as PRIVATUNE_API_KEY is missing.",
    Exit.NOT_FOUND: "There is no such file, job, model, artifact, key or person, or it is not "
    "yours.",
    Exit.REFUSED: "The key is wrong or lacks a scope or role, or no licence allows this.",
    Exit.UNAVAILABLE: "No answer from the server, or a fault of the server's.",
    Exit.DATA: "The data or the request is at fault; the message says where and how to mend it.",
    Exit.INTERRUPTED: "Ctrl-C.",
}


class Stop(UserFault):
    """Ends a command with this exit code."""

    def __init__(
        self,
        exit_code: Exit,
        message: str,
        *,
        code: str,
        where: str | None = None,
        fix: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(code, message, where=where, fix=fix, param=param)
        self.exit_code = exit_code


def exit_of(fault: Fault) -> Exit:
    return fault.exit_code if isinstance(fault, Stop) else exit_for(fault.status)


def exit_for(status: int) -> Exit:
    """The exit code for an HTTP status; our errors carry one too, where no HTTP is spoken."""
    match status:
        case 401 | 403:
            return Exit.REFUSED
        case 404 | 410:
            return Exit.NOT_FOUND
        case 408 | 429:
            return Exit.UNAVAILABLE
    return Exit.UNAVAILABLE if status >= 500 else Exit.DATA
