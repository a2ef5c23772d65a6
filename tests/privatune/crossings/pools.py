"""The database of this process behind a small pool, as the web server's is, and PgBouncer."""

import copy
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connections

from tests.fixtures.waiting import until
from tests.privatune.crossings.traffic import APPLICATION


@contextmanager
def pooled(size: int, **address: Any) -> Iterator[None]:
    """Everybody in this process shares `size` connections; at the end all must have come back."""
    database, wrapper = connections.settings["default"], connections["default"]
    before = copy.deepcopy(database)
    wrapper.close()
    database.update(address, CONN_MAX_AGE=0)
    database["OPTIONS"] |= {
        "application_name": APPLICATION,
        "pool": {"min_size": 1, "max_size": size, "timeout": 600},
    }
    try:
        yield
        wrapper.close()
        until(lambda: _all_back(wrapper.pool.get_stats()), "a connection did not come back")
    finally:
        wrapper.close()
        wrapper.close_pool()
        database.clear()
        database.update(before)


def _all_back(stats: dict[str, int]) -> bool:
    return stats["pool_available"] == stats["pool_size"]


@contextmanager
def pgbouncer(server: Any, *, size: int) -> Iterator[dict[str, Any]]:
    """PgBouncer in transaction mode before the server, with `size` connections to it; gives the
    address for Django's settings. It runs as the server's user, since it refuses to be root."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.fail("pgbouncer is not installed; run `scripts/system-packages test`")
    settings = connections.settings["default"]
    owner = os.stat(server.socket_folder)
    folder = Path(tempfile.mkdtemp(prefix="pgb-"))  # short: a socket's path has 107 characters
    (folder / "users").write_text(f'"{settings["USER"]}" "{settings["PASSWORD"]}"\n')
    (folder / "ini").write_text(
        f"[databases]\n{settings['NAME']} = host={server.socket_folder}\n"
        "[pgbouncer]\npool_mode = transaction\nauth_type = scram-sha-256\n"
        f"auth_file = {folder / 'users'}\ndefault_pool_size = {size}\nserver_login_retry = 1\n"
        f"unix_socket_dir = {folder}\nlisten_port = 6432\nlogfile = {folder / 'log'}\n"
    )
    as_root = os.geteuid() == 0
    if as_root:
        for path in (folder, *folder.iterdir()):
            os.chown(path, owner.st_uid, owner.st_gid)
    who: dict[str, Any] = (
        {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if as_root else {}
    )
    process = subprocess.Popen(
        [program, "-q", str(folder / "ini")], **who, stderr=subprocess.DEVNULL
    )
    try:
        address = {"HOST": str(folder), "PORT": "6432"}
        until(lambda: _answers(settings | address), "pgbouncer does not answer", of=process)
        yield address
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(settings: dict[str, Any]) -> bool:
    try:
        psycopg.connect(
            host=settings["HOST"],
            port=settings["PORT"],
            user=settings["USER"],
            password=settings["PASSWORD"],
            dbname=settings["NAME"],
        ).close()
    except psycopg.OperationalError:
        return False
    return True
