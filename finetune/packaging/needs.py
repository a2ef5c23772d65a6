"""Which peft an adapter needs at least; the slow tests install it and try."""

from typing import Any

OLDEST = "0.7.1"
_SINCE = {"use_dora": "0.9.0", "use_rslora": "0.8.2"}  # the newest first


def lowest_peft(config: dict[str, Any]) -> str:
    """The version for an adapter_config.json."""
    return next((version for key, version in _SINCE.items() if config.get(key)), OLDEST)
