"""How a base makes one vector of a text: what stands before it, where it ends, how its tokens'
states become one. Read from a folder for sentence-transformers, or as the store keeps it."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    PositiveInt,
    RootModel,
    ValidationError,
)

from faults import UserFault
from faults.nesting import loads
from finetune.records.folders import lies_in
from finetune.records.printing import printable

RECIPE = "embedding.json"
MODULES = "modules.json"
LARGEST = 16 << 20  # bytes of such a file
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
    for more than is done here, or that cannot be read."""
    if (folder / RECIPE).is_file():
        return _read(folder, RECIPE, Recipe)
    if not (folder / MODULES).is_file():
        raise UserFault(
            "no_recipe",
            f"There is no {MODULES}, which says how a text becomes a vector.",
            where=MODULES,
            fix="Point at a model folder as sentence-transformers saves it (modules.json, "
            "1_Pooling/config.json).",
        )
    parts = _modules(folder)
    if parts[0].path not in ("", "."):
        raise _unsupported("its transformer lies in a folder of its own", MODULES)
    told = _read(folder, "sentence_bert_config.json", _Transformer, missing=_Transformer())
    general = _read(folder, "config_sentence_transformers.json", _General, missing=_General())
    prompts, default = general.prompts or {}, general.default_prompt_name
    if default is not None and default not in prompts:
        raise _unsupported(f"its default prompt {default!r} is none of its prompts", MODULES)
    return Recipe(
        pooling=_pooling(folder, f"{parts[1].path}/config.json"),
        normalize=len(parts) > 2,
        max_length=_max_length(folder, told.max_seq_length),
        prompts={name: text for name, text in prompts.items() if text},
        default_prompt=default if default and prompts[default] else None,
        lower_case=told.do_lower_case,
    )


Read = TypeVar("Read", bound=BaseModel)


class _File(BaseModel):
    """What of a file of sentence-transformers says something here; it may hold more."""

    model_config = ConfigDict(strict=True)


class _Module(_File):
    idx: int
    type: str
    path: str


class _Modules(RootModel[list[_Module]]):
    pass


class _Transformer(_File):
    max_seq_length: PositiveInt | None = None
    do_lower_case: bool = False


def _sound(text: str) -> str:
    """Raises ValueError for half a character, which no file could keep."""
    text.encode()
    return text


Text = Annotated[str, AfterValidator(_sound)]


class _General(_File):
    prompts: dict[Text, Text] | None = None
    default_prompt_name: str | None = None


class _Pooling(_File):
    pooling_mode: str | list[str] | None = None
    pooling_mode_cls_token: bool = False
    pooling_mode_max_tokens: bool = False
    pooling_mode_mean_tokens: bool = False
    pooling_mode_lasttoken: bool = False
    pooling_mode_mean_sqrt_len_tokens: bool = False
    pooling_mode_weightedmean_tokens: bool = False
    include_prompt: bool = True


class _Tokenizer(_File):
    model_max_length: float | None = None


class _Config(_File):
    max_position_embeddings: PositiveInt
    model_type: str | None = None
    pad_token_id: NonNegativeInt | None = None


def _modules(folder: Path) -> list[_Module]:
    """In order: a transformer, its pooling, and maybe the norm."""
    found = sorted(_read(folder, MODULES, _Modules).root, key=lambda each: each.idx)
    kinds = [each.type.rpartition(".")[2] for each in found]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise _unsupported(f"its modules are {', '.join(map(printable, kinds)) or 'none'}", MODULES)
    return found


def _pooling(folder: Path, name: str) -> Pooling:
    told = _read(folder, name, _Pooling)
    modes = told.pooling_mode or [mode for key, mode in _OLDER.items() if getattr(told, key)]
    modes = [modes] if isinstance(modes, str) else modes or ["mean"]
    if len(modes) != 1 or modes[0] not in get_args(Pooling):
        raise _unsupported(f"its pooling is {' and '.join(map(printable, modes))}", name)
    if not told.include_prompt:
        raise _unsupported("its pooling leaves the prompt out", name)
    found: Pooling = modes[0]  # type: ignore[assignment]
    return found


def _max_length(folder: Path, named: float | None) -> int:
    """What the folder says, and no more than the model has positions for."""
    if named is None:
        told = _read(folder, "tokenizer_config.json", _Tokenizer, missing=_Tokenizer())
        named = told.model_max_length
    positions = positions_of(_read(folder, "config.json", _Config).model_dump())
    if named is None or not 1 <= named < _UNBOUNDED:
        return positions
    return min(int(named), positions)


def positions_of(config: dict[str, Any]) -> int:
    """Of a config.json. Positions of RoBERTa's kind begin behind the padding token's number."""
    positions = int(config["max_position_embeddings"])
    begins_behind_padding = config.get("model_type") in ("roberta", "xlm-roberta", "mpnet")
    return (
        positions - int(config.get("pad_token_id") or 1) - 1 if begins_behind_padding else positions
    )


def _read(folder: Path, name: str, kind: type[Read], *, missing: Read | None = None) -> Read:
    """A file of the folder's own: a stranger's, which may be endless, a device, a link to another's
    or nothing that was expected."""
    try:
        path = folder / name
        if not lies_in(folder, path):
            raise _unsupported(f"{printable(name)[:80]} lies outside the folder", MODULES)
        if not path.is_file() and missing is not None:
            return missing
        if not path.is_file() or path.stat().st_size > LARGEST:
            raise _unsupported(f"{name} is missing, or larger than {LARGEST >> 20} MB", name)
        return kind.model_validate(loads(path.read_bytes()))
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise _unsupported(f"{name} cannot be read: {place} {first['msg']}", name) from error
    except (OSError, ValueError) as error:
        said = type(error).__name__
        raise _unsupported(f"{printable(name)[:80]} cannot be read ({said})", MODULES) from error


def _unsupported(reason: str, where: str) -> UserFault:
    return UserFault(
        "recipe_unsupported",
        f"This base's way from a text to a vector is not known here: {reason}.",
        where=where,
        fix="Use a base of a transformer, one pooling (mean, cls, max or lasttoken) and maybe a "
        "norm, as sentence-transformers saves it.",
    )
