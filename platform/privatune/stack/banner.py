"""What `privatune up` says when everything runs: where to look, and what to paste next."""

import json
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

YOUR_OWN = "(your own password; lost: privatune user reset)"
NO_KEY = "<a key of yours>"


def announce(url: str, first: dict[str, Any], *, as_json: bool) -> None:
    """`first`: tenant, api_key, login, operator and samples, as `prepare` and `samples` told."""
    print(json.dumps({"base_url": f"{url}/v1", **first}) if as_json else banner(url, first))
    sys.stdout.flush()


def banner(url: str, first: dict[str, Any]) -> str:
    login, operator = first["login"], first["operator"]
    key = first["api_key"] or NO_KEY
    return "\n".join(
        [
            "",
            "Privatune is ready.",
            "",
            f"  Portal     {url}            {login['email']}  {login['password'] or YOUR_OWN}",
            f"  Operator   {url}/operator/  {operator['email']}  "
            f"{operator['password'] or YOUR_OWN}",
            f"  API        {url}/v1         key {key}",
            *_samples(first["samples"]),
            "",
            "Next, in another terminal:",
            "",
            *_activation(),
            f"  export PRIVATUNE_BASE_URL={url}",
            f"  export PRIVATUNE_API_KEY={key}",
            *_first_job(first["samples"]),
            "",
            "Ctrl-C here stops everything; the data stays.",
            "",
        ]
    )


def _samples(found: dict[str, str] | None) -> list[str]:
    if found is None:
        return []
    return [
        f"  Model      {found['model']}, licensed to try",
        f"  Rows       {found['train']}",
        f"             {found['validation']}",
        f"             {found['questions']}",
    ]


def _activation() -> list[str]:
    """Where `privatune` is found in this environment only."""
    script = Path(sys.prefix) / "bin" / "activate"
    if shutil.which("privatune") or not script.exists():
        return []
    return [f"  . {shlex.quote(str(script))}"]


def _first_job(found: dict[str, str] | None) -> list[str]:
    if found is None:
        return ["  privatune models list"]
    return [
        f"  privatune jobs create --model {found['model']} --watch \\",
        f"      --file {shlex.quote(found['train'])} \\",
        f"      --validation-file {shlex.quote(found['validation'])}",
    ]
