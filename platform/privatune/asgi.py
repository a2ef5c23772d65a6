"""The ASGI application of the web server."""

import multiprocessing
import os
import signal

if multiprocessing.parent_process() is not None:
    # granian's worker inherits a handler that is deaf in it until this module is loaded and granian
    # sets another: told to end meanwhile, it would serve on while its parent waits for its end.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
os.environ.setdefault("PRIVATUNE_PROCESS", "web")

import django
from django.db import connections

django.setup(set_prefix=False)

from finetune.lifeline import end_with_parent  # noqa: E402
from privatune.edge.application import Application  # noqa: E402 - it imports models
from privatune.env import Process, process  # noqa: E402


def _pool_connections() -> None:
    """Under ASGI each request has a thread of its own, so a connection kept per thread would never
    be met again and stay open; the web server alone takes its connections from a pool."""
    database = connections.settings["default"]
    database["CONN_MAX_AGE"] = 0
    # Connecting is tried twice and then anew by whoever asks next: the pool's own five minutes of
    # ever longer pauses would keep the web away long after the database is back.
    patience = {"timeout": 10, "reconnect_timeout": 2}
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 20, **patience}


_pool_connections()
if process() is Process.WEB:
    from privatune.gate import require_installation

    require_installation()
    end_with_parent()  # granian's worker, when granian is killed with -9
application = Application()
