"""`privatune serve`: answer OpenAI's requests with a model that was taken away. No database."""

from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from privatune.cli.exits import Exit, Stop
from privatune.cli.output import AsJson, notes, print_json
from privatune.cli.trust import Fingerprint

SHORTEST_KEY = 16  # characters

if TYPE_CHECKING:
    from privatune.alone.opened import Opened


def serve(
    bundle: Annotated[
        Path, typer.Argument(exists=True, help="An artifact or a merged form: folder or .tar.")
    ],
    base: Annotated[
        Path | None,
        typer.Option(
            exists=True, file_okay=False, help="The base's folder; a merged form needs none."
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The operator's public key (PEM)."),
    ] = None,
    fingerprint: Fingerprint = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8001,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A file with the key that callers have to send."
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="A certificate chain (PEM), for HTTPS."),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="The certificate's key (PEM)."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            file_okay=False, help="Keeps the latest time that was seen, and bases that it read."
        ),
    ] = None,
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], typer.Option(help="In which the base stands in memory.")
    ] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of the processor.")] = None,
    as_json: AsJson = False,
) -> None:
    """Serve a model that was taken away, without a server of Privatune's and without a network.

    Before anything is answered, every file is held to the signature, the base to the passport, and
    the licence to the clock. OpenAI's clients take http://HOST:PORT/v1 as their base URL.
    """
    from privatune.alone.serving import Wish, state_folder
    from privatune.alone.serving import serve as run

    if key is None and fingerprint is None:
        raise Stop(
            Exit.USAGE,
            "Whose signature is expected?",
            code="signer_missing",
            fix="give --key with the operator's public key, or --fingerprint.",
        )
    api_key = _key_in(api_key_file) if api_key_file else None
    if api_key is None and not _only_this_machine(host):
        raise Stop(
            Exit.USAGE,
            f"On {host} others reach it, so callers have to send a key.",
            code="api_key_missing",
            fix="give --api-key-file with a file that holds one.",
        )

    if (tls_cert is None) != (tls_key is None):
        raise Stop(
            Exit.USAGE,
            "A certificate and its key are given together.",
            code="tls_incomplete",
            fix="give both --tls-cert and --tls-key.",
        )
    tls = (tls_cert, tls_key) if tls_cert and tls_key else None

    def ready(model: "Opened") -> None:
        url = f"{'https' if tls else 'http'}://{host}:{port}/v1"
        if as_json:
            print_json({"base_url": url, "model": model.name, "digest": model.digest})
        else:
            notes().print(f"{model.name} answers at {url}. Ctrl-C stops it.", soft_wrap=True)

    run(
        Wish(
            bundle=bundle,
            base=base,
            key=key.read_text(encoding="utf-8") if key else None,
            fingerprint=fingerprint,
            host=host,
            port=port,
            api_key=api_key,
            state=state or state_folder(),
            precision=precision,
            threads=threads,
            tls=tls,
        ),
        ready,
    )


def _key_in(file: Path) -> str:
    """An empty file, as a mount that failed leaves one, would let everybody in."""
    key = file.read_text(encoding="utf-8").strip()
    if len(key) < SHORTEST_KEY or not all("!" <= sign <= "~" for sign in key):
        raise Stop(
            Exit.USAGE,
            f"{file} holds no key: one is {SHORTEST_KEY} or more letters, digits and signs in a "
            "line.",
            code="api_key_malformed",
            fix="make one, as with `openssl rand -hex 32`.",
        )
    return key


def _only_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
