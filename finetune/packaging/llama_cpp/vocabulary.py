"""A tokenizer as llama.cpp has it. It splits text by rules that it knows by name, so a tokenizer is
taken only whose rule is one of these; whether its tokens are the same is tried afterwards."""

import re
from typing import Any

from gguf import TokenType

from finetune.packaging.llama_cpp.architecture import unsupported

# What llama.cpp takes for a control token by its look, whatever its tokenizer calls it
_CONTROL = re.compile(r"<\|.*\|>|<｜.*｜>")

_BYTES = {"type": "ByteLevel"}
_QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LLAMA3 = _QWEN2.replace(r"\p{N}| ", r"\p{N}{1,3}| ")
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_SPLITS = {_QWEN2: "qwen2", _LLAMA3: "llama-bpe", _TEKKEN: "tekken"}


def describe(
    out: Any, tokenizer: Any, core: dict[str, Any], config: dict[str, Any], *, stops: list[int]
) -> None:
    """Into a GGUFWriter. `core`: tokenizer.json; `config`: config.json; `stops`: tokens that end an
    answer.

    Raises UserFault `form_unsupported`.
    """
    if core["model"]["type"] != "BPE" or core["model"].get("byte_fallback"):
        raise unsupported("its tokenizer is no byte-level BPE")
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(_rule(core))
    names, kinds = _tokens(core, int(config["vocab_size"]))
    out.add_token_list(names)
    out.add_token_types(kinds)
    out.add_token_merges([_joined(each) for each in core["model"]["merges"]])
    _add_special(out, tokenizer, config, stops)
    if isinstance(tokenizer.chat_template, str):
        out.add_chat_template(tokenizer.chat_template)


def _joined(merge: Any) -> str:
    return merge if isinstance(merge, str) else " ".join(merge)


def _rule(core: dict[str, Any]) -> str:
    normalizer = (core.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):
        raise unsupported(f"its tokenizer changes texts first ({normalizer})")
    steps = _steps(core.get("pre_tokenizer") or {})
    kinds = [each["type"] for each in steps]
    if kinds[-1:] == ["ByteLevel"] and not steps[-1].get("add_prefix_space"):
        if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
            return "gpt-2"
        if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
            return "smollm"
        if kinds == ["Split", "ByteLevel"] and steps[0].get("behavior") == "Isolated":
            found = _SPLITS.get(steps[0]["pattern"].get("Regex", ""))
            if found:
                return found
    raise unsupported("llama.cpp has no name here for how its tokenizer splits text")


def _steps(told: dict[str, Any]) -> list[dict[str, Any]]:
    return list(told["pretokenizers"]) if told.get("type") == "Sequence" else [told]


def _tokens(core: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    """A text and a kind for each row of the embeddings, also for those that no token has."""
    names = [f"[PAD{token}]" for token in range(size)]
    kinds = [int(TokenType.UNUSED)] * size
    for name, token in core["model"]["vocab"].items():
        names[token], kinds[token] = name, int(TokenType.NORMAL)
    for added in core.get("added_tokens", ()):
        controls = added["special"] or _CONTROL.fullmatch(added["content"])
        kind = TokenType.CONTROL if controls else TokenType.USER_DEFINED
        names[added["id"]], kinds[added["id"]] = added["content"], int(kind)
    return names, kinds


def _add_special(out: Any, tokenizer: Any, config: dict[str, Any], stops: list[int]) -> None:
    """llama.cpp has three places for what ends an answer, and knows more by their names. Without a
    start it takes token 11 for one: as its own converter does, the config's is told where the
    tokenizer has none (Qwen), which is not put before a prompt by that."""
    ends = sorted(stops, key=lambda token: token != tokenizer.eos_token_id)
    places = (out.add_eos_token_id, out.add_eot_token_id, out.add_eom_token_id)
    for add, token in zip(places, ends, strict=False):
        add(token)
    start = tokenizer.bos_token_id
    start = config.get("bos_token_id") if start is None else start
    if isinstance(start, int) and 0 <= start < int(config["vocab_size"]):
        out.add_bos_token_id(start)
    if tokenizer.pad_token_id is not None:
        out.add_pad_token_id(tokenizer.pad_token_id)
    plain = tokenizer("a").input_ids
    out.add_add_bos_token(plain[0] == tokenizer.bos_token_id)
    out.add_add_eos_token(plain[-1] == tokenizer.eos_token_id)
