"""The JSON files of a model folder, read strictly and cleaned of everything that could run code."""

from pathlib import Path
from typing import Any

from faults import UserFault
from faults.nesting import loads

# Keys by which a config can name Python to import or a kernel to download, or leaks a local path.
DROPPED = frozenset(
    {
        "auto_map",
        "custom_pipelines",
        "custom_generate",
        "trust_remote_code",
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "use_kernels",
        "kernel_config",
        "name_or_path",
        "_name_or_path",
        "tokenizer_file",
    }
)
CODE_KEYS = frozenset({"auto_map", "custom_pipelines", "custom_generate", "trust_remote_code"})


def read_json(path: Path, *, code: str) -> dict[str, Any]:
    """One JSON object; UserFault `code` with the position when it is not."""
    try:
        value = loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserFault(
            code,
            f"{path.name} is not valid JSON: {error}",
            where=path.name,
            fix="Download the file again; compare its SHA-256 with the publisher's.",
        ) from error
    if not isinstance(value, dict):
        raise UserFault(code, f"{path.name} must hold a JSON object.", where=path.name)
    return value


def cleaned(value: Any) -> Any:
    """The same JSON without the `DROPPED` keys, at every depth."""
    if isinstance(value, dict):
        return {key: cleaned(item) for key, item in value.items() if key not in DROPPED}
    if isinstance(value, list):
        return [cleaned(item) for item in value]
    return value


def code_keys(value: Any) -> set[str]:
    """Which code-naming keys stand anywhere in `value`."""
    if isinstance(value, dict):
        below = set().union(*(code_keys(item) for item in value.values()), set())
        return below | (CODE_KEYS & value.keys())
    if isinstance(value, list):
        return set().union(*(code_keys(item) for item in value), set())
    return set()
