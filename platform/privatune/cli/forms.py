"""What `privatune artifacts export` waits for: a form of a model, made by a worker."""

import time
from enum import StrEnum
from typing import Any

from finetune.states import LIVE_LEASES, LeaseState
from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import notes, size

FORMS = "/api/v1/forms"
POLL_SECONDS = 1.0


class Form(StrEnum):
    MERGED = "merged"
    GGUF_F16 = "gguf-f16"
    GGUF_Q8_0 = "gguf-q8_0"
    GGUF_Q4_K_M = "gguf-q4_k_m"


def made(client: Client, form: dict[str, Any]) -> dict[str, Any]:
    """The form when it is made. Raises Stop if it cannot be."""
    told = ""
    while form.get("state") in LIVE_LEASES:
        if (now := _how_far(form)) != told:
            notes().print(now, soft_wrap=True, markup=False)
            told = now
        time.sleep(POLL_SECONDS)
        form = client.get(f"{FORMS}/{form['id']}")
    if form.get("state") == LeaseState.SUCCEEDED:
        return form
    error = form.get("error") or {}
    raise Stop(
        Exit.FAILED,
        error.get("message") or f"The form is {form.get('state')}.",
        code=error.get("code") or f"work_{form.get('state')}",
        fix=error.get("fix"),
    )


def _how_far(form: dict[str, Any]) -> str:
    if form["waits_for"]:
        return f"{form['id']} waits: {form['waits_for']}"
    if form["state"] == LeaseState.WAITING:
        return f"{form['id']} waits for a worker ..."
    return f"{form['id']} is being made: {size(form['bytes_done'])} of {size(form['bytes_total'])}"
