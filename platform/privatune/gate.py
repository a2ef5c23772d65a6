"""A long-lived process starts only with the keys of its installation, or says what is wrong."""

import sys
import time

from django.db import OperationalError, ProgrammingError

from tenants.services import key_prints
from tenants.vault.errors import KeyUnavailable

PATIENCE_SECONDS = 60.0  # for a database that starts beside us


def require_keys() -> None:
    """Ends the process with exit code 78 (EX_CONFIG) and one clear text unless all keys fit."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return key_prints.check()
        except KeyUnavailable as error:
            _refuse(str(error))
        except ProgrammingError:
            _refuse("The database has no tables of this version. Fix: run `manage.py migrate`.")
        except OperationalError as error:
            if time.monotonic() > deadline:
                _refuse(f"The database does not answer: {str(error).strip()}")
            time.sleep(1)


def _refuse(reason: str) -> None:
    print(f"privatune does not start: {reason}", file=sys.stderr, flush=True)
    raise SystemExit(78)
