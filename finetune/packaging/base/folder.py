"""Which files of a Hugging Face model folder belong in the store, and which links it may hold."""

import re
from pathlib import Path

from faults import UserFault
from finetune.packaging.base.weights import PICKLES, weight_files
from finetune.records.folders import lies_in

PLAIN_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
# rewritten without the keys that can name code
CONFIG_FILES = ("config.json", "generation_config.json", "tokenizer_config.json")
_TERMS = re.compile(r"(LICEN[CS]E|NOTICE|USE_POLICY)(\.(txt|md))?", re.IGNORECASE)


def is_terms(name: str) -> bool:
    """Whether a file is the publisher's licence, notice or policy."""
    return _TERMS.fullmatch(name) is not None


def select_files(source: Path) -> tuple[list[str], list[str]]:
    """The names to take from `source`, and notices about what is left behind.

    UserFault: `empty_folder`, `no_config`, those of `weight_files`, `link_outside`.
    """
    present = sorted(path.name for path in source.iterdir() if path.is_file())
    if not present:
        raise UserFault(
            "empty_folder",
            "The folder holds no files.",
            where=str(source),
            fix="Point at the folder that holds config.json and the weights.",
        )
    weights = weight_files(source)
    if "config.json" not in present:
        raise UserFault(
            "no_config",
            "There is no config.json.",
            where=str(source),
            fix="Point at the folder that holds config.json and the weights.",
        )
    terms = [name for name in present if is_terms(name)]
    known = {*CONFIG_FILES, *PLAIN_FILES, *terms}
    taken = [*weights, *(name for name in present if name in known)]
    for name in taken:
        _require_inside(source, source / name)
    return taken, _left_behind(set(present) - set(taken))


def _left_behind(names: set[str]) -> list[str]:
    pickled = sorted(name for name in names if name.endswith(PICKLES))
    code = sorted(name for name in names if name.endswith(".py"))
    notices = []
    if pickled:
        notices.append(f"Pickled weights were not copied: {', '.join(pickled)}")
    if code:
        notices.append(f"Python files were not copied and are never run: {', '.join(code)}")
    return notices


def _require_inside(source: Path, path: Path) -> None:
    """It is a file of the folder's own."""
    if not lies_in(source, path):
        raise UserFault(
            "link_outside",
            f"{path.name} is a link that leads out of the folder, to {path.resolve()}.",
            where=path.name,
            fix="Copy the file itself into the folder.",
        )
    if not path.is_file():
        raise UserFault(
            "not_a_file",
            f"{path.name} is no file that can be copied.",
            where=path.name,
            fix="Download the model's folder again.",
        )
