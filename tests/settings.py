"""The server's settings over a throw-away data folder with its own embedded PostgreSQL.

The server itself starts only when a test asks for the database (tests/fixtures/database.py).
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from privatune.keys import existing, make_keys
from privatune.stack.secrets import ensure_secrets

# Side by side, each of pytest's worker processes needs a folder and a database of its own, while
# the programs that a test starts share the one of its worker.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
if os.environ.get("PRIVATUNE_TEST_DATA_OF", _worker) != _worker:
    del os.environ["PRIVATUNE_TEST_DATA"]
if "PRIVATUNE_TEST_DATA" not in os.environ:
    os.environ["PRIVATUNE_TEST_DATA"] = tempfile.mkdtemp(prefix="privatune-test-")
    os.environ["PRIVATUNE_TEST_DATA_OF"] = _worker
    # Made here, so removed here: also by mypy and manage.py, which load these settings too.
    atexit.register(shutil.rmtree, os.environ["PRIVATUNE_TEST_DATA"], ignore_errors=True)
TEST_DATA = Path(os.environ["PRIVATUNE_TEST_DATA"])
# Over the caller's own: tests must never reach a real database. HTTPS alone is the caller's to say,
# for `check --deploy`.
_https = os.environ.get("PRIVATUNE_HTTPS", "0")
_values = ensure_secrets(TEST_DATA)
_keys = (_values["PRIVATUNE_MASTER_KEY"], Path(_values["PRIVATUNE_SIGNING_KEY"]))
if not existing(*_keys):
    _public = Path(_values["PRIVATUNE_SIGNING_PUBLIC_KEY"])
    make_keys(master_uri=_keys[0], signing=_keys[1], public=_public)
os.environ.update(_values | {"PRIVATUNE_HTTPS": _https, "PRIVATUNE_PROCESS": "operator"})
os.environ["PRIVATUNE_DATA"] = str(TEST_DATA)
os.environ["PRIVATUNE_ALLOWED_HOSTS"] = "127.0.0.1,localhost,testserver"

from privatune.settings import *  # noqa: E402, F403
from privatune.settings import CELERY_BEAT_SCHEDULE, DATABASES, _database  # noqa: E402

# Tests stand for every process in one, which no process of the product is.
SECRET_KEY = _values["PRIVATUNE_SECRET_KEY"]
DATABASES |= {
    "owner": _database(_values["DATABASE_OWNER_URL"]),
    "operator": _database(_values["DATABASE_OPERATOR_URL"]),
}
OPERATOR_ROOMS = True

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
assert CELERY_BEAT_SCHEDULE
