"""How a base makes one vector of a text: what stands before it, where it ends, how its tokens'
states become one. Read from a folder for sentence-transformers, or as the store keeps it."""

import json
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, PositiveInt

from faults import UserFault

RECIPE = "embedding.json"
MODULES = "modules.json"
Pooling = Literal["mean", "cls", "max", "lasttoken"]
Side = Literal["query", "document", "text"]
"""What a text is: what is searched with, what is found, or either (one of two compared ones)."""

# Names under which models' authors keep what stands before a document
_DOCUMENT = ("document", "passage", "corpus")
_UNBOUNDED = 1 << 30  # transformers writes 1e30 for a tokenizer that names no length
_OLDER = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}


class Recipe(BaseModel):
    """`max_length`: tokens of a text, the special ones included; the rest is cut off. `prompts`: by
    name, what stands before a text; `default_prompt`: the name of the one that always does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pooling: Pooling
    normalize: bool
    max_length: PositiveInt
    prompts: dict[str, str] = {}
    default_prompt: str | None = None
    lower_case: bool = False

    def prompt_of(self, side: Side) -> str:
        """By the names that sentence-transformers' `encode_query`, `encode_document` and `encode`
        look for, in their order."""
        names = {"query": ("query",), "document": _DOCUMENT, "text": ()}[side]
        named = next((name for name in names if name in self.prompts), self.default_prompt)
        return "" if named is None else self.prompts[named]


def has_recipe(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (RECIPE, MODULES))


def read_recipe(folder: Path) -> Recipe:
    """Raises UserFault `no_recipe` for a folder without one, `recipe_unsupported` for one that asks
    for more than is done here."""
    if (folder / RECIPE).is_file():
        return Recipe.model_validate(_json(folder / RECIPE))
    if not (folder / MODULES).is_file():
        raise UserFault(
            "no_recipe",
            f"There is no {MODULES}, which says how a text becomes a vector.",
            where=MODULES,
            fix="Point at a model folder as sentence-transformers saves it (modules.json, "
            "1_Pooling/config.json).",
        )
    parts = _modules(folder)
    first = folder / parts[0][1]
    if first.resolve() != folder.resolve():
        raise _unsupported("its transformer lies in a folder of its own", parts[0][1])
    told = _json(folder / "sentence_bert_config.json", {})
    general = _json(folder / "config_sentence_transformers.json", {})
    prompts = {str(name): str(text) for name, text in (general.get("prompts") or {}).items()}
    default = general.get("default_prompt_name")
    if default is not None and default not in prompts:
        raise _unsupported(f"its default prompt {default!r} is none of its prompts", MODULES)
    return Recipe(
        pooling=_pooling(folder / parts[1][1]),
        normalize=len(parts) > 2,
        max_length=_max_length(folder, told),
        prompts={name: text for name, text in prompts.items() if text},
        default_prompt=default if prompts.get(default) else None,
        lower_case=bool(told.get("do_lower_case")),
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """(class, folder) of each, in order: a transformer, its pooling, and maybe the norm."""
    written = _json(folder / MODULES)
    try:
        ordered = sorted(written, key=lambda each: each["idx"])
        found = [(each["type"].rpartition(".")[2], str(each["path"])) for each in ordered]
    except (TypeError, KeyError, AttributeError) as error:
        raise _unsupported("its modules cannot be read", MODULES) from error
    kinds = [kind for kind, _ in found]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _unsupported(f"its modules are {', '.join(kinds) or 'none'}", MODULES)
    if any(".." in Path(path).parts or Path(path).is_absolute() for _, path in found):
        raise _unsupported("a module lies outside the folder", MODULES)
    return found


def _pooling(folder: Path) -> Pooling:
    told = _json(folder / "config.json")
    modes = told.get("pooling_mode") or [mode for key, mode in _OLDER.items() if told.get(key)]
    modes = [modes] if isinstance(modes, str) else list(modes) or ["mean"]
    where = f"{folder.name}/config.json"
    if len(modes) != 1 or modes[0] not in get_args(Pooling):
        raise _unsupported(f"its pooling is {' and '.join(map(str, modes))}", where)
    if told.get("include_prompt") is False:
        raise _unsupported("its pooling leaves the prompt out", where)
    found: Pooling = modes[0]
    return found


def _max_length(folder: Path, told: dict[str, Any]) -> int:
    """What the folder says, and no more than the model has positions for."""
    config = _json(folder / "config.json", {})
    named = told.get("max_seq_length")
    if named is None:
        named = _json(folder / "tokenizer_config.json", {}).get("model_max_length")
    positions = positions_of(config)
    if not isinstance(named, int | float) or not 0 < named < _UNBOUNDED:
        return positions
    return min(int(named), positions)


def positions_of(config: dict[str, Any]) -> int:
    """Of a config.json. Positions of RoBERTa's kind begin behind the padding token's number."""
    positions = int(config["max_position_embeddings"])
    begins_behind_padding = config.get("model_type") in ("roberta", "xlm-roberta", "mpnet")
    return (
        positions - int(config.get("pad_token_id") or 1) - 1 if begins_behind_padding else positions
    )


def _json(path: Path, default: Any = None) -> Any:
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        if default is not None:
            return default
        raise _unsupported(f"{path.name} is missing", path.name) from None
    except ValueError as error:
        raise _unsupported(f"{path.name} is not JSON", path.name) from error


def _unsupported(reason: str, where: str) -> UserFault:
    return UserFault(
        "recipe_unsupported",
        f"This base's way from a text to a vector is not known here: {reason}.",
        where=where,
        fix="Use a base of a transformer, one pooling (mean, cls, max or lasttoken) and maybe a "
        "norm, as sentence-transformers saves it.",
    )
