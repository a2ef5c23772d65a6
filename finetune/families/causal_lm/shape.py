"""What of a transformers configuration concerns text, whatever else the model reads."""

from typing import Any

from finetune.families.contract import Shape

# Kinds of rotary embeddings that fit their frequencies, in place, to the longest row they are shown
FITTED_ROPE = frozenset({"dynamic", "longrope"})


def shape_of(config: Any) -> Shape:
    """Raises AttributeError for a configuration that names none of it."""
    text = config.get_text_config()
    return Shape(int(text.vocab_size), _context_length(text))


def _context_length(text: Any) -> int:
    """Where frequencies change with length (Phi-3's longrope), what they were first made for:
    beyond it, a row's own answer would depend on the rows beside it and on how far it has come."""
    length = int(text.max_position_embeddings)
    for rope in _ropes(getattr(text, "rope_parameters", None)):
        if rope.get("rope_type") in FITTED_ROPE:
            original = rope.get("original_max_position_embeddings") or length
            length = min(length, int(original))
    return length


def _ropes(parameters: Any) -> list[dict[str, Any]]:
    """One for all layers, or one by type of layer."""
    if not isinstance(parameters, dict):
        return []
    return [parameters, *(each for each in parameters.values() if isinstance(each, dict))]
