"""How a base that ranks reads a query beside a document: where the pair ends, whether it tells its
two segments apart, and what a score is made of its logit. Read from a folder as transformers or
sentence-transformers' CrossEncoder saves it, or as the store keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from faults import UserFault
from finetune.records.printing import printable
from finetune.records.recipe import LARGEST, positions_of

RANKING = "ranking.json"
HEADED = "ForSequenceClassification"
_IDENTITY = "Identity"


class Ranking(BaseModel):
    """`max_length`: tokens of a pair, the special ones included; of the longer text is cut first.
    `segments`: the document's tokens are told to be of the second segment. `sigmoid`: a score is
    between 0 and 1; else it is the logit itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_length: PositiveInt
    segments: bool
    sigmoid: bool = True


@dataclass(frozen=True)
class Pair:
    """A query beside a document, in tokens; `first`: the document's first one."""

    input_ids: Sequence[int]
    first: int

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        return len(self.input_ids) - self.first

    @property
    def labels(self) -> list[bool]:
        """Which tokens stand from the document's first on, as a file of token ids keeps it."""
        return [place >= self.first for place in range(len(self.input_ids))]

    @property
    def sequences(self) -> tuple["Pair"]:
        return (self,)


def names_ranker(config: dict[str, Any]) -> bool:
    """Whether a config.json is of a model with a head over whole sequences."""
    named = config.get("architectures")
    return isinstance(named, list) and len(named) == 1 and str(named[0]).endswith(HEADED)


def has_ranking(folder: Path) -> bool:
    return (folder / RANKING).is_file() or names_ranker(_told(folder / "config.json"))


def read_ranking(folder: Path) -> Ranking:
    """Raises UserFault `ranking_unsupported` for a folder that asks for more than is done here, or
    that cannot be read."""
    if not (folder / RANKING).is_file():
        return _made_out(folder)
    try:
        return Ranking.model_validate_json((folder / RANKING).read_bytes())
    except (OSError, ValidationError) as error:
        raise _unsupported(f"{RANKING} cannot be read ({type(error).__name__})") from error


def _made_out(folder: Path) -> Ranking:
    """Of a folder as its author saved it."""
    from finetune.records.encode import load_tokenizer

    config = _told(folder / "config.json")
    general = _told(folder / "config_sentence_transformers.json")
    _require_plain(folder, config, general)
    tokenizer = load_tokenizer(folder)
    longest = positions_of(config)
    named = _told(folder / "sentence_bert_config.json").get("max_seq_length")
    named = tokenizer.model_max_length if named is None else named
    if isinstance(named, int) and 1 <= named < longest:
        longest = named
    return Ranking(
        max_length=longest, segments=_segments(tokenizer), sigmoid=_sigmoid(config, general)
    )


def _require_plain(folder: Path, config: dict[str, Any], general: dict[str, Any]) -> None:
    """One logit of one pair, and nothing before or behind it."""
    labels = config.get("num_labels") or len(config.get("id2label") or ("0", "1"))
    if labels != 1:
        raise _unsupported(f"its head has {printable(str(labels))} labels, and a score is one")
    if general.get("default_prompt_name"):
        raise _unsupported("a prompt always stands before its pairs")
    modules = _told(folder / "modules.json", list)
    kinds = [str(each.get("type")) for each in modules if isinstance(each, dict)]
    if len(kinds) != len(modules) or any(not kind.endswith(".Transformer") for kind in kinds[:1]):
        raise _unsupported("its modules.json cannot be read")
    if len(kinds) > 1:
        raise _unsupported(f"its modules are {printable(', '.join(kinds))[:200]}")


def _segments(tokenizer: Any) -> bool:
    """Whether the tokenizer tells the document's tokens, from the first to the end, from others."""
    if "token_type_ids" not in tokenizer.model_input_names:
        return False
    found = tokenizer.backend_tokenizer.encode("a", "b")
    if not any(found.type_ids):
        return False
    first = found.sequence_ids.index(1)
    if found.type_ids != [0] * first + [1] * (len(found.ids) - first):
        raise _unsupported("its tokenizer's segments are not the query's and the document's")
    return True


def _sigmoid(config: dict[str, Any], general: dict[str, Any]) -> bool:
    """By the names under which CrossEncoder has kept it, the newest first."""
    of_library = config.get("sentence_transformers")
    named = (
        general.get("activation_fn")
        or (of_library.get("activation_fn") if isinstance(of_library, dict) else None)
        or config.get("sbert_ce_default_activation_function")
        or "torch.nn.modules.activation.Sigmoid"
    )
    kind = str(named).rpartition(".")[2]
    if kind not in ("Sigmoid", _IDENTITY):
        raise _unsupported(f"a score is made by {printable(kind)[:80]}")
    return kind != _IDENTITY


def _told(path: Path, kind: Any = dict) -> Any:
    """A JSON file's value; empty where there is none. Raises UserFault `ranking_unsupported`."""
    from faults.nesting import NO_JSON, loads

    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return kind()
        found = loads(path.read_bytes())
    except NO_JSON as error:
        raise _unsupported(f"{path.name} is not JSON ({type(error).__name__})") from error
    if not isinstance(found, kind):
        raise _unsupported(f"{path.name} holds something else")
    return found


def _unsupported(reason: str) -> UserFault:
    return UserFault(
        "ranking_unsupported",
        f"This base's way from a query and a document to a score is not known here: {reason}.",
        fix="Use a cross-encoder with a head of one label, as transformers or "
        "sentence-transformers' CrossEncoder saves it.",
    )
