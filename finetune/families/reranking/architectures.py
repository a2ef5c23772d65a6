"""The architectures of bases that rank."""

from typing import Any

from faults import UserFault

# config.architectures[0] -> config.model_type
ARCHITECTURES = {
    "BertForSequenceClassification": "bert",
    "RobertaForSequenceClassification": "roberta",
    "XLMRobertaForSequenceClassification": "xlm-roberta",
    "ModernBertForSequenceClassification": "modernbert",
}


def native_architecture(config: dict[str, Any], where: str) -> str:
    """The name for `config`; UserFault `unknown_architecture` or `remote_code_required` when there
    is none on the list."""
    named = config.get("architectures")
    name = named[0] if isinstance(named, list) and len(named) == 1 else None
    if isinstance(name, str) and ARCHITECTURES.get(name) == config.get("model_type"):
        return name
    code = "remote_code_required" if "auto_map" in config else "unknown_architecture"
    raise UserFault(
        code,
        f"config.json says architectures {named!r}, model_type {config.get('model_type')!r}.",
        where=where,
        fix=f"Use a reranker of one of these: {', '.join(ARCHITECTURES)}.",
    )
