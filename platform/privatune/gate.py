"""A long-lived process starts only on a database of its version and with the keys of its
installation, or says what is wrong."""

import sys
import time

from django.db import OperationalError, ProgrammingError

from tenants.database import schema
from tenants.services import key_prints
from tenants.vault.errors import KeyUnavailable

PATIENCE_SECONDS = 60.0  # for a database that starts beside us


def check() -> None:
    """Raises WrongSchema, WrongKey or KeyUnavailable."""
    schema.check()
    key_prints.check()


def require_installation() -> None:
    """Ends the process with exit code 78 (EX_CONFIG) and one clear text unless all of it fits."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return check()
        except (schema.WrongSchema, KeyUnavailable) as error:
            _refuse(str(error))
        except ProgrammingError as error:
            why = f"its role may not read what it needs there ({str(error).strip()})"
            _refuse(f"{why}. Fix: run `manage.py migrate`, which grants it.")
        except OperationalError as error:
            if time.monotonic() > deadline:
                _refuse(f"The database does not answer: {str(error).strip()}")
            time.sleep(1)


def _refuse(reason: str) -> None:
    print(f"privatune does not start: {reason}", file=sys.stderr, flush=True)
    raise SystemExit(78)
