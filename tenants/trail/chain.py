"""How one audit entry is tied to the one before it. Pure: the server writes by it, and a customer
checks by it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

VERSION = 2
# What each version's digest covers, besides the number and the digest before. Older entries keep
# the rule they were written by.
COVERED = {
    1: ("actor", "action", "target", "data", "at"),
    2: (
        *("version", "tenant", "kind", "actor", "user_id", "key_id"),
        *("action", "target", "data", "at"),
    ),
}


def link_digest(entry: Mapping[str, Any]) -> str:
    """SHA-256 in hex over the canonical JSON of the entry. KeyError for an unknown version.

    `entry` holds JSON values: ids as text, `data` as an object.
    """
    covered = {name: entry[name] for name in COVERED[entry["version"]]}
    canonical = json.dumps(
        {"seq": entry["seq"], "previous": entry["previous"], **covered},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()
