"""What the server mines of a file there: asked for, waited for, shown and cancelled."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from privatune.cli.client import Client
from privatune.cli.output import AsJson, print_facts, print_json
from privatune.cli.profiles import ended, watched
from tenants import public_ids

if TYPE_CHECKING:
    from finetune.mining.negatives import MiningOptions

MININGS = "/api/v1/minings"


def mine_there(
    file: str, model: str, corpus: str | None, asked: "MiningOptions", *, as_json: bool
) -> None:
    client = Client.from_environment()
    wish = {"file": file, "model": model, "corpus": corpus, **asked.model_dump(mode="json")}
    found = watched(client, MININGS, client.post(MININGS, wish))
    _show(found, as_json=as_json)
    ended(found, as_json=as_json)


def cancel(
    mining_id: Annotated[str, typer.Argument(help=f"Its id, like {public_ids.MINING}")],
    as_json: AsJson = False,
) -> None:
    """Stop what mines negatives on the server; no new file is made."""
    found = Client.from_environment().post(f"{MININGS}/{mining_id}/cancel", {})
    _show(found, as_json=as_json)


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return print_json(found)
    report = found["report"] or {}
    given, skipped = report.get("rows_by_negatives", {}), report.get("skipped", {})
    return print_facts(
        {
            "id": found["id"],
            "file": found["file"],
            "result": found["result"],
            "model": found["model"],
            "state": found["state"],
            "rows": report.get("rows"),
            "queries": report.get("queries"),
            "documents": report.get("documents"),
            "negatives": report.get("negatives"),
            "rows by negatives": ", ".join(f"{n}: {rows}" for n, rows in given.items()) or None,
            "skipped": ", ".join(f"{count} by {name}" for name, count in skipped.items()) or None,
            "tokens": found["tokens"],
        }
    )
