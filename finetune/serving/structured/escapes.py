"""Escapes that an answer's texts may be written with. Where `\\uXXXX` is allowed, llguidance lets a
name of no one's be a listed name, spelt so that it passes for another; where it is not, it leaves
out control characters that a text has to have."""

import json
import re
from typing import Any

# In a text, as JSON spells it, and in a pattern, where `\x`, `\u` and others may be any character
_CONTROLS = re.compile(r"\\u00[01]|\\u007f|\x7f|\\\\[xuUavc0]")


def may_have_controls(schema: Any) -> bool:
    """Whether it may speak of characters that JSON has no escape for but `\\uXXXX`."""
    return _CONTROLS.search(json.dumps(schema)) is not None


def allowed(schema: Any) -> dict[str, str]:
    """As llguidance is told."""
    return {} if may_have_controls(schema) else {"json_allowed_escapes": 'nrbtf\\"'}
