"""The architectures of bases that embed, and what would make a vector depend on other texts."""

from typing import Any

from faults import UserFault

# config.architectures[0] -> config.model_type; a decoder is one where the folder has a recipe
ARCHITECTURES = {
    "BertModel": "bert",
    "RobertaModel": "roberta",
    "XLMRobertaModel": "xlm-roberta",
    "MPNetModel": "mpnet",
    "DistilBertModel": "distilbert",
    "ModernBertModel": "modernbert",
    "Qwen3Model": "qwen3",
    "Qwen3ForCausalLM": "qwen3",
}


def native_architecture(config: dict[str, Any], where: str) -> str:
    """The name for `config`; UserFault `unknown_architecture`, `remote_code_required` or
    `architecture_unsupported` when there is none on the list."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and len(named) == 1 else None
    if not isinstance(name, str) or ARCHITECTURES.get(name) != config.get("model_type"):
        raise _unknown(config, named, where)
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if scaling.get("rope_type", scaling.get("type", "default")) in ("dynamic", "longrope"):
        # a text's vector would depend on the texts beside it
        raise UserFault(
            "architecture_unsupported",
            "Its positions change with the longest text of a batch.",
            where=where,
            fix=_fix(),
        )
    return name


def _unknown(config: dict[str, Any], named: Any, where: str) -> UserFault:
    if "auto_map" in config:
        return UserFault(
            "remote_code_required",
            f"The architecture {named!r} runs only with Python code from the model's own folder "
            "(auto_map), and such code is never executed here.",
            where=where,
            fix=_fix(),
        )
    return UserFault(
        "unknown_architecture",
        f"config.json says architectures {named!r}, model_type {config.get('model_type')!r}.",
        where=where,
        fix=_fix(),
    )


def _fix() -> str:
    return f"Use an embedding model of one of these: {', '.join(ARCHITECTURES)}."
