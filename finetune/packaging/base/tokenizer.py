"""Tokenizer and chat template of a staged base: they load natively, fit the model and render."""

import json
from pathlib import Path
from typing import Any

from faults import UserFault
from finetune.packaging.base.config import read_json
from finetune.records.encode import RowEncoder
from finetune.records.infilling import CHOICE, NAMES, NONE, infilling_of
from finetune.records.printing import printable
from finetune.records.recipe import Recipe

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model")
TEMPLATE = "chat_template.jinja"
_PROBE = [{"role": "user", "content": "a question"}]


def require_tokenizer(folder: Path) -> None:
    """UserFault `no_tokenizer` unless the folder holds a tokenizer that needs no code."""
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise UserFault(
            "no_tokenizer",
            f"There is neither {TOKENIZER_FILES[0]} nor {TOKENIZER_FILES[1]}.",
            where=str(folder),
            fix="Copy the tokenizer files of the model into the folder, or save them with "
            "AutoTokenizer.save_pretrained.",
        )


def require_template(folder: Path, given: Path | None) -> None:
    """UserFault `no_chat_template` unless the folder or `given` has one."""
    if given is not None or (folder / TEMPLATE).is_file():
        return
    config_path = folder / "tokenizer_config.json"
    if config_path.is_file() and read_json(config_path, code="bad_config").get("chat_template"):
        return
    raise UserFault(
        "no_chat_template",
        "The model has no chat template, so chat rows cannot be laid out as it expects them.",
        where="tokenizer_config.json",
        fix="Pass --chat-template FILE with a Jinja template (a base model takes any clear one, "
        "for example ChatML; a chat model needs the one it was trained with).",
    )


def install_template(folder: Path, given: Path) -> None:
    """Make `given` the only chat template of the staged folder."""
    try:
        text = given.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserFault(
            "chat_template_broken", f"The template cannot be read: {error}", where=str(given)
        ) from error
    (folder / TEMPLATE).write_text(text, encoding="utf-8")
    config_path = folder / "tokenizer_config.json"
    if config_path.is_file():
        config = read_json(config_path, code="bad_config")
        config.pop("chat_template", None)
        config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")


def check_prompts(folder: Path, recipe: Recipe) -> None:
    """What stands before a text leaves room for one. Raises UserFault `recipe_unsupported`."""
    tokenizer = _load(folder)
    for name, prompt in recipe.prompts.items():
        if (tokens := len(tokenizer(prompt)["input_ids"])) >= recipe.max_length:
            raise UserFault(
                "recipe_unsupported",
                f"The prompt {printable(name)!r} takes {tokens} tokens, and a text has "
                f"{recipe.max_length} with it.",
                where="config_sentence_transformers.json",
                fix="Shorten the prompt, or raise max_seq_length in sentence_bert_config.json.",
            )


def check_tokenizer(folder: Path, vocab_size: int, *, writes: bool = True) -> list[str]:
    """Load it without remote code, compare with the model; of one that `writes`, render one
    question.

    Returns notices. UserFault: `tokenizer_unreadable`, `vocabulary_too_small`, `no_eos_token`,
    `chat_template_broken`.
    """
    tokenizer = _load(folder)
    notices = _keep_own_rules(folder, tokenizer)
    if notices:
        tokenizer = _load(folder)
    if len(tokenizer) > vocab_size:
        raise UserFault(
            "vocabulary_too_small",
            f"The tokenizer has {len(tokenizer)} tokens, the model's vocabulary {vocab_size}.",
            where="config.json",
            fix="Use the tokenizer that belongs to these weights.",
        )
    if not writes:
        return notices
    if tokenizer.eos_token_id is None:
        raise UserFault(
            "no_eos_token",
            "The tokenizer names no end-of-text token; the model could never learn to stop.",
            where="tokenizer_config.json",
            fix='Set "eos_token" in tokenizer_config.json to the model\'s end-of-turn token.',
        )
    _render(tokenizer)
    return notices + _stops(folder, tokenizer)


def _stops(folder: Path, tokenizer: Any) -> list[str]:
    """A notice where the model's own settings let an answer run on past the template's end."""
    try:
        missing = RowEncoder(tokenizer).stop_ids - stop_ids(folder)
    except UserFault as fault:
        return [f"Chat rows cannot be trained: {fault}"]
    if not missing:
        return []
    named = ", ".join(sorted(tokenizer.convert_ids_to_tokens(list(missing))))
    return [
        f"The model's generation settings do not stop at {named}, which ends an answer: elsewhere "
        "its answers may run on. Here they stop, and artifacts carry settings that do."
    ]


def infilling_dialect(folder: Path) -> str:
    """Whose tokens for filling in the middle the tokenizer has; "" where it has none."""
    found = infilling_of(_load(folder))
    return found.name if found else ""


def name_infilling(folder: Path, name: str) -> None:
    """Keeps whose tokens they are in the tokenizer's own settings, which go wherever it goes.
    Raises UserFault for a name that is unknown, or tokens that are not there."""
    path = folder / "tokenizer_config.json"
    told = read_json(path, code="bad_config") if path.is_file() else {}
    if name in NAMES:
        path.write_text(
            json.dumps(told | {CHOICE: name}, indent=2, ensure_ascii=False) + "\n", "utf-8"
        )
    if name != (infilling_dialect(folder) or NONE):
        raise UserFault(
            "cannot_infill",
            f"The base's tokenizer has no control tokens of {name!r}.",
            fix=f"Name one whose tokens it has: {', '.join(NAMES)}.",
            param="infilling",
        )


def stop_ids(folder: Path) -> set[int]:
    """What a model's own settings stop at, as transformers reads them."""
    for path in (folder / "generation_config.json", folder / "config.json"):
        if path.is_file():
            named = read_json(path, code="bad_config").get("eos_token_id")
            return {named} if isinstance(named, int) else set(named or ())
    return set()


def _load(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_fast=True
        )
    except Exception as error:  # the tokenizers library raises bare Exception on a bad file
        raise UserFault(
            "tokenizer_unreadable",
            f"The tokenizer does not load without code of its own: {error}",
            where="tokenizer.json",
            fix="Use a model whose tokenizer is a tokenizer.json of the tokenizers library.",
        ) from error


def _keep_own_rules(folder: Path, tokenizer: Any) -> list[str]:
    """Make tokenizer.json the truth where the named class would silently change its rules.

    transformers 5 rebuilds classes such as GPT2Tokenizer from the vocabulary alone, which loses,
    for example, the digit splitting in SmolLM2's published tokenizer.json.
    """
    path, config_path = folder / "tokenizer.json", folder / "tokenizer_config.json"
    if not path.is_file() or not config_path.is_file():
        return []
    written = read_json(path, code="tokenizer_unreadable")
    loaded = json.loads(tokenizer.backend_tokenizer.to_str())
    changed = [part for part in ("normalizer", "pre_tokenizer") if written[part] != loaded[part]]
    if not changed:
        return []
    config = read_json(config_path, code="bad_config")
    named = config.get("tokenizer_class")
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return [
        f"tokenizer_class {named} would change the {' and '.join(changed)} of tokenizer.json; "
        "it is loaded as PreTrainedTokenizerFast."
    ]


def _render(tokenizer: Any) -> None:
    try:
        text = tokenizer.apply_chat_template(_PROBE, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # jinja raises whatever the template's author chose
        raise UserFault(
            "chat_template_broken",
            f"The chat template does not render one user message: {error}",
            where=TEMPLATE,
            fix="Pass a working template with --chat-template FILE.",
        ) from error
    if _PROBE[0]["content"] not in text:
        raise UserFault(
            "chat_template_broken",
            "The chat template leaves out what the user says.",
            where=TEMPLATE,
            fix="Pass a working template with --chat-template FILE.",
        )
