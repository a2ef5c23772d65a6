"""Serves one bundle until it is told to stop."""

import asyncio
import os
import resource
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from faults import UserFault
from privatune.alone.callers import LOCAL, Callers
from privatune.alone.clock import HighWater
from privatune.alone.opened import Opened, opened, unpacked

STATE = "privatune"
LOOK_SECONDS = 0.05
SILENT_MS = 10_000  # of a connection on which no head of a request comes
CONNECTIONS = 8192  # at once; the silent ones among them are closed


@dataclass(frozen=True)
class Wish:
    """`state`: the folder that keeps the time and bases; `api_key` None: nobody has to have one."""

    bundle: Path
    base: Path | None
    key: str | None
    fingerprint: str | None
    host: str
    port: int
    state: Path
    api_key: str | None = None
    precision: str = "auto"
    threads: int | None = None
    tls: tuple[Path, Path] | None = None  # certificate chain and key (PEM)


def state_folder() -> Path:
    """Where programs of this user keep what lasts (XDG's `$XDG_STATE_HOME`)."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(root) / STATE


def serve(wish: Wish, ready: Callable[[Opened], None]) -> None:
    """Raises UserFault where the bundle is not what was signed, its licence does not hold, its base
    is another, or something else listens at the address."""
    signal.signal(signal.SIGTERM, _leave)  # what was unpacked goes, also before it answers
    _require_free(wish.host, wish.port)
    _require_readable(wish.tls)
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    with tempfile.TemporaryDirectory(prefix="privatune-serve-") as place:
        folder = Path(place) / "bundle"
        folder.mkdir()
        model = opened(
            unpacked(wish.bundle, folder),
            base=wish.base,
            store=wish.state / "bases",
            key=wish.key,
            fingerprint=wish.fingerprint,
        )
        clock = HighWater(wish.state / "clock", least=model.signed_at)
        model.terms.require(clock)
        asyncio.run(_serve(wish, model, clock, Path(place) / "engine.sock", ready))


def _leave(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)


def _require_readable(tls: tuple[Path, Path] | None) -> None:
    """Before a base is read, which takes long."""
    if tls is None:
        return
    try:
        # A key under a passphrase is refused, and nobody is asked for one
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*tls, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        raise UserFault(
            "tls_unreadable",
            f"{tls[0]} and {tls[1]} are no certificate and its key: {error.strerror or error}.",
            fix="Give PEM files that belong together, the key without a passphrase.",
            param="tls-cert",
        ) from error


def _require_free(host: str, port: int) -> None:
    """Before a base is read, which takes long."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise UserFault(
            "address_in_use",
            f"{host} port {port} cannot be listened on: {error.strerror}.",
            fix="Give another --port, or --host.",
            param="port",
        ) from error


def _allow_connections() -> None:
    """Each is an open file."""
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = CONNECTIONS + 1024 if most == resource.RLIM_INFINITY else min(most, CONNECTIONS + 1024)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, files), most))


async def _serve(
    wish: Wish, model: Opened, clock: HighWater, path: Path, ready: Callable[[Opened], None]
) -> None:
    from granian.constants import HTTPModes, Interfaces, SSLProtocols
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    from privatune.alone.door import Door
    from privatune.alone.engine import running

    _allow_connections()
    async with running(model, path, precision=wish.precision, threads=wish.threads) as engine:
        http = Server(
            Door(engine, clock, Callers(wish.api_key, LOCAL | {wish.host.lower()})),
            address=wish.host,
            port=wish.port,
            interface=Interfaces.ASGINL,
            log_enabled=False,
            websockets=False,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(header_read_timeout=SILENT_MS),
            backpressure=CONNECTIONS,
            ssl_cert=wish.tls[0] if wish.tls else None,
            ssl_key=wish.tls[1] if wish.tls else None,
            ssl_protocol_min=SSLProtocols.tls12,
        )
        for name in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(name, http.stop)
        serving = asyncio.create_task(http.serve())
        if await _answers(wish, serving):
            ready(model)
        await serving


async def _answers(wish: Wish, serving: "asyncio.Task[None]") -> bool:
    """Once it does; False where it ended instead."""
    while not serving.done():
        try:
            _, writer = await asyncio.open_connection(wish.host, wish.port)
        except ConnectionRefusedError:
            await asyncio.sleep(LOOK_SECONDS)
            continue
        writer.close()
        return True
    return False
