"""Canonical rows to token ids and the mask of trained tokens. The one place where a mask is made.

The trainer, the checker and the serving process all encode through here, so what is counted,
what is trained and what is asked are the same tokens.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from faults import UserFault
from finetune.records.rows import ChatRow, CompletionRow, Message, Row, TextRow
from finetune.records.spans import trained_spans
from finetune.records.template import CharSpan, ChatTemplate, Tools


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as tokens. `trained[i]`: token i is a label, predicted from the tokens before it.

    Both lists have the row's length; `trained[0]` is always False, as nothing precedes it.
    `trimmed`: messages at whose edges the chat template takes white space away.
    """

    input_ids: list[int]
    trained: list[bool]
    trimmed: tuple[int, ...] = ()

    @property
    def trained_count(self) -> int:
        return sum(self.trained)


def load_tokenizer(base_dir: Path) -> Any:
    """The base's fast tokenizer, from its folder only: no network, no code of the model's.

    Raises UserFault `no_tokenizer`.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(
            str(base_dir), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise UserFault(
            "no_tokenizer",
            f"The base model's tokenizer cannot be loaded: {error}",
            where=str(base_dir),
            fix="Import a base whose folder has tokenizer.json and tokenizer_config.json.",
        ) from error
    if not tokenizer.is_fast:
        raise UserFault(
            "no_tokenizer",
            "The base model has no fast tokenizer, which is needed to know each token's place.",
            where=str(base_dir),
            fix="Add a tokenizer.json to the base's folder and import it again.",
        )
    return tokenizer


class RowEncoder:
    """Encodes canonical rows for one base model's tokenizer and chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        # tokenizer.json may carry a truncation or padding of its own, which would act unseen
        self._fast = tokenizer.backend_tokenizer
        self._fast.no_truncation()
        self._fast.no_padding()

    def encode(self, row: Row) -> Encoded:
        """Tokens and mask of a row; at least one token is trained.

        Raises UserFault: `nothing_trained`, `no_eos`, `no_chat_template`,
        `control_token_in_message` or what the template does not allow (see `spans.trained_spans`).
        """
        if "messages" in row:
            encoded = self._chat(cast(ChatRow, row))
        elif "prompt" in row:
            encoded = self._completion(cast(CompletionRow, row))
        else:
            encoded = self._text(row)
        return cut(_checked(encoded), row.get("cut_to"))

    def render_prompt(self, messages: Sequence[Message], tools: Tools = None) -> list[int]:
        """Tokens of a conversation up to where the assistant answers, as in training."""
        prepared = self._template.prepare(messages, tools)
        text = self._template.render(prepared, tools, prompt=True)
        return self._ids(text)

    def encode_prompt(self, prompt: str) -> list[int]:
        """Tokens of an untemplated prompt, as in the training of prompt/completion rows."""
        return self._start_ids + self._ids(prompt)

    @cached_property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end an answer: the end of sequence and the template's end of turn."""
        ids = {self.tokenizer.eos_token_id}
        if self.tokenizer.chat_template:
            ids.add(self._ids(self._template.end_mark)[-1])
        return frozenset(token for token in ids if token is not None)

    # --- the three kinds of row

    def _chat(self, row: ChatRow) -> Encoded:
        messages = row["messages"]
        wanted = [
            index
            for index, message in enumerate(messages)
            if message["role"] == "assistant" and message.get("weight", 1)
        ]
        tools = row.get("tools")
        prepared = self._template.prepare(messages, tools)
        text, spans, trimmed = trained_spans(self._template, prepared, tools, wanted)
        encoding = self._fast.encode(text, add_special_tokens=False)
        return Encoded(encoding.ids, _mask(encoding.offsets, spans), trimmed)

    def _completion(self, row: CompletionRow) -> Encoded:
        prompt = self.encode_prompt(row["prompt"])
        completion = [*self._continue(row["prompt"], row["completion"]), self._eos]
        return Encoded(prompt + completion, [False] * len(prompt) + [True] * len(completion))

    def _text(self, row: TextRow) -> Encoded:
        ids = [*self._start_ids, *self._ids(row["text"]), self._eos]
        fixed = len(self._start_ids)
        return Encoded(ids, [False] * fixed + [True] * (len(ids) - fixed))

    # --- tokens

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer)

    @cached_property
    def _start_ids(self) -> list[int]:
        """The begin-of-sequence token, if this tokenizer puts one before a text by itself."""
        bos = self.tokenizer.bos_token_id
        ids = self._fast.encode("", add_special_tokens=True).ids
        return [bos] if bos is not None and ids[:1] == [bos] else []

    @cached_property
    def _eos(self) -> int:
        eos: int | None = self.tokenizer.eos_token_id
        if eos is None:
            raise UserFault(
                "no_eos",
                "The base model's tokenizer has no end-of-sequence token, so a model trained on "
                "untemplated rows would never learn to stop.",
                fix="Name eos_token in the base's tokenizer_config.json and import it again.",
            )
        return eos

    def _ids(self, text: str) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def _continue(self, prompt: str, completion: str) -> list[int]:
        """Tokens of the completion behind the prompt's own tokens, as inference writes them.

        A token that would span both is split at the seam: at inference the prompt ends there.
        """
        before, whole = self._ids(prompt), self._ids(prompt + completion)
        if whole[: len(before)] == before:
            return whole[len(before) :]
        # A newline in front keeps SentencePiece from adding a space to the completion's start
        newline = self._ids("\n")
        behind = self._ids("\n" + completion)
        if behind[: len(newline)] == newline:
            return behind[len(newline) :]
        return self._ids(completion)


def cut(encoded: Encoded, to: int | None) -> Encoded:
    """The row's first `to` tokens. Raises UserFault `nothing_trained` if no label is left."""
    if to is None or len(encoded.input_ids) <= to:
        return encoded
    return _checked(Encoded(encoded.input_ids[:to], encoded.trained[:to], encoded.trimmed))


def _mask(offsets: Sequence[CharSpan], spans: list[CharSpan]) -> list[bool]:
    """A token is trained if it begins inside a span.

    One that begins before the span holds text of the prompt and stays untrained.
    """
    edges = [edge for span in spans for edge in span]
    return [bisect_right(edges, begin) % 2 == 1 for begin, _ in offsets]


def _checked(encoded: Encoded) -> Encoded:
    if encoded.trained:
        encoded.trained[0] = False
    if not any(encoded.trained):
        raise UserFault(
            "nothing_trained",
            "No token of this row would be trained.",
            fix="Give the row an assistant message that is not empty and has no weight 0, or "
            "raise max_length if the answer was cut off.",
        )
    return encoded
