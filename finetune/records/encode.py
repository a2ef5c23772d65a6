"""Canonical rows to token ids and the mask of trained tokens. The one place where a mask is made.

The trainer, the checker and the serving process all encode through here, so what is counted,
what is trained and what is asked are the same tokens.
"""

from collections.abc import Iterable
from collections.abc import Sequence as Seq
from copy import copy
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from faults import UserFault
from finetune.records import unlocked
from finetune.records.borders import Borders
from finetune.records.call_form import CallForm
from finetune.records.encoded import (
    Encoded,
    Remark,
    Sequence,
    checked,
    cut,
    trained_behind_its_first,
)
from finetune.records.infilling import Infilling, cannot_infill, infilling_of
from finetune.records.labels import between, mask, places_of
from finetune.records.rendering import Tools
from finetune.records.rows import (
    ChatRow,
    ChunkRow,
    CompletionRow,
    File,
    Message,
    PromptRow,
    Row,
    TextRow,
)
from finetune.records.spans import Answers, Rendered
from finetune.records.template import ChatTemplate
from finetune.records.thinking import SWITCH, Thinking


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
    """Encodes canonical rows for one base model's tokenizer and chat template. `thinking`: which
    answers are trained behind a prompt that asks for thinking, where the template can."""

    def __init__(self, tokenizer: Any, thinking: Thinking = "each") -> None:
        self.tokenizer = tokenizer
        self._thinking = thinking
        # tokenizer.json may carry a truncation or padding of its own, which would act unseen
        self._fast = tokenizer.backend_tokenizer
        self._fast.no_truncation()
        self._fast.no_padding()

    def thinking_as(self, think: bool | None) -> "RowEncoder":
        """The same for rows of a training that asked for thinking, or for none; None: as each says.
        The tokenizer is not touched: others may be encoding with it."""
        other = copy(self)
        other._thinking = "each" if think is None else "on" if think else "off"
        return other

    def encode(self, row: Row) -> Encoded:
        """Tokens and labels of a row; at least one token of each sequence is trained, unless the
        row is a prompt.

        Each answer's sequence begins with the very tokens that serving sends to be continued.

        Raises UserFault: `nothing_trained`, `no_eos`, `no_chat_template`,
        `control_token_in_message`, `thinking_unsupported` or what the template does not allow
        (see `spans.Answers`).
        """
        if "item" in row:
            return self._prompt(cast(PromptRow, row))
        if "messages" in row:
            encoded = self._chat(cast(ChatRow, row))
        elif "prompt" in row:
            encoded = self._completion(cast(CompletionRow, row))
        elif "ids" in row:
            encoded = trained_behind_its_first(cast(ChunkRow, row)["ids"])
        else:
            encoded = self._text(row)
        return cut(checked(encoded), row.get("cut_to"))

    def chunks(self, row: TextRow, size: int) -> list[ChunkRow]:
        """A document in chunks of at most `size` tokens; one that fits is one chunk.

        Each but the first begins with the last token of the one before, which is not trained there:
        so every token but the document's first is trained once. The end token is the last one's.
        Raises UserFault `no_eos`.
        """
        ids = self._text(row).input_ids
        return [{"ids": ids[at : at + size]} for at in range(0, max(1, len(ids) - 1), size - 1)]

    def render_prompt(
        self, messages: Seq[Message], tools: Tools = None, think: bool | None = None
    ) -> list[int]:
        """Tokens of a conversation up to where the assistant answers, as in training: those of
        `prompt_text`."""
        return self._ids(self.prompt_text(messages, tools, think))

    def prompt_text(
        self, messages: Seq[Message], tools: Tools = None, think: bool | None = None
    ) -> str:
        """A conversation up to where the assistant answers, for `encode_rendered`.

        `think` None leaves it to the template whether the model shall think. Raises UserFault
        `thinking_unsupported`, `control_token_in_message`, `template_refused`.
        """
        self._template.require_switch(think)
        prepared = self._template.prepare(messages, tools)
        return self._template.render(prepared, tools, prompt=True, think=think)

    def encode_rendered(self, text: str) -> list[int]:
        """Tokens of what a template printed: it prints a start token itself, where there is one."""
        return self._ids(text)

    @cached_property
    def thinks(self) -> bool:
        """Whether answers to chats may begin with a thought."""
        return bool(self.tokenizer.chat_template) and self._template.thinks

    @property
    def switch(self) -> str:
        """What the template calls its switch for thinking; where it has none, what most do."""
        switches = self._template.switches if self.tokenizer.chat_template else ()
        return switches[0] if switches else SWITCH

    @property
    def call_form(self) -> CallForm | None:
        """How the template writes tool calls; None without a template or where not as JSON."""
        return self._template.call_form if self.tokenizer.chat_template else None

    def encode_prompt(self, prompt: str) -> list[int]:
        """Tokens of an untemplated prompt, as in the training of prompt/completion rows."""
        return self.start_ids + self._ids(prompt)

    @cached_property
    def infilling(self) -> Infilling | None:
        """How the base fills in the middle of a text; None where its tokenizer has no such
        tokens."""
        return infilling_of(self.tokenizer)

    def infill_prompt(self, prefix: str, suffix: str) -> list[int]:
        """Tokens of a hole's surroundings, up to where what stands in it is to be written. Raises
        UserFault `cannot_infill`."""
        if self.infilling is None:
            raise cannot_infill("suffix", fix="Leave `suffix` out, or ask a code model.")
        before, behind = self._ids(prefix), self.inner_ids(suffix)
        return self.start_ids + self.infilling.before_middle(before, behind, "psm")

    def inner_ids(self, text: str) -> list[int]:
        """Tokens of a piece from within a text: SentencePiece adds a space to a text's start."""
        if not self._adds_space:
            return self._ids(text)
        found = self._after(list(self.line_break), "\n", text)
        return self._ids(text) if found is None else [token for token, _ in found]

    @cached_property
    def line_break(self) -> tuple[int, ...]:
        """What may stand before a piece from within a text."""
        return tuple(self._ids("\n"))

    @cached_property
    def _adds_space(self) -> bool:
        found = self._after(self._ids("\n"), "\n", "a")
        return found is not None and [token for token, _ in found] != self._ids("a")

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
        if not wanted:
            return Encoded(())
        prepared = self._template.prepare(messages, tools)
        answers = Answers(self._template, prepared, tools, wanted, self._thinking)
        shown = answers.together()
        if shown is not None and (sequence := self._in_one(shown)):
            sequences, texts = [sequence], [shown]
        else:
            texts = answers.apart()
            sequences = [self._behind_its_prompt(text) for text in texts]
        asked = [think is not False for think in answers.asked] if self._template.thinks else []
        remarks = [
            *(Remark("template_trims", i, "content") for each in texts for i in each.trimmed),
            *_lost_thoughts(prepared, [each.text for each in texts]),
            *(
                Remark("reasoning_missing", index, "reasoning_content")
                for index, think in zip(wanted, asked, strict=False)
                if think and "reasoning_content" not in prepared[index]
            ),
        ]
        return Encoded(tuple(sequences), tuple(remarks), tuple(asked))

    def _in_one(self, chat: Rendered) -> Sequence | None:
        """The text encoded as a whole; None if a token reaches over a seam, or the tokens of a
        prompt are others when something follows it: at inference the prompt ends there."""
        cut = self._borders.cut(chat.text)
        if cut is not None:
            if (places := places_of(chat, cut)) is None:
                return None
            if (trained := between(chat, cut, places)) is not None:
                return Sequence(cut.ids, trained)
        encoding = unlocked.encoded(self._fast, chat.text, special=False)
        for seam in () if cut is not None else chat.seams:
            before = self._ids(chat.text[:seam])
            if encoding.ids[: len(before)] != before:
                return None
        return Sequence(encoding.ids, mask((begin for begin, _ in encoding.offsets), chat.spans))

    def _behind_its_prompt(self, chat: Rendered) -> Sequence:
        """The one answer's prompt encoded as serving does it, and the answer behind it."""
        cut = self._borders.cut(chat.text)
        if (
            cut is not None
            and (places := places_of(chat, cut)) is not None
            and (trained := between(chat, cut, places)) is not None
        ):
            return Sequence(cut.ids, trained)
        seam = chat.seams[0] if chat.seams else 0
        prompt = self._ids(chat.text[:seam])
        answer = self._continue(chat.text[:seam], chat.text[seam:])
        labels = mask((seam + begin for _, begin in answer), chat.spans)
        return Sequence([*prompt, *(i for i, _ in answer)], [*[False] * len(prompt), *labels])

    def _prompt(self, row: PromptRow) -> Encoded:
        """As serving sends it to be answered; the template decides about thinking where nothing
        else was asked."""
        think = None if self._thinking == "each" else self._thinking == "on"
        ids = self.render_prompt(row["messages"], row.get("tools"), think)
        asked = () if think is None else (think,)
        return Encoded((Sequence(ids, [False] * len(ids)),), asked=asked)

    def _completion(self, row: CompletionRow) -> Encoded:
        prompt = self.encode_prompt(row["prompt"])
        behind = [token for token, _ in self._continue(row["prompt"], row["completion"])]
        completion = [*behind, self._eos]
        labels = [False] * len(prompt) + [True] * len(completion)
        return Encoded((Sequence(prompt + completion, labels),))

    def _text(self, row: TextRow) -> Encoded:
        own = self._repository(row) if "repo" in row else self._ids(row["text"])
        ids = [*self.start_ids, *own, self._eos]
        fixed = len(self.start_ids)
        return Encoded((Sequence(ids, [False] * fixed + [True] * (len(ids) - fixed)),))

    def _repository(self, row: TextRow) -> list[int]:
        """Its files one after the other, each behind its path, by the base's own control tokens
        where it has some; pieces are encoded by themselves."""
        files: list[File] = [cast(File, row), *row.get("more", ())]
        dialect = self.infilling
        if dialect is None or dialect.file is None:
            texts = (f"{file.get('path', row['repo'])}\n{file['text']}" for file in files)
            return self._ids("\n\n".join(texts))
        ids = []
        if dialect.repository is not None:
            name = self.inner_ids(row["repo"] + dialect.dialect.behind_repository)
            ids = [dialect.repository, *name]
        for file in files:
            path = self.inner_ids(f"{file['path']}\n") if "path" in file else []
            ids += [dialect.file, *path, *self.inner_ids(file["text"])]
        return ids

    # --- tokens

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer)

    @cached_property
    def _borders(self) -> Borders:
        return Borders(self.tokenizer)

    @cached_property
    def start_ids(self) -> list[int]:
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
        ids: list[int] = unlocked.encoded(self._fast, text, special=False).ids
        return ids

    def _continue(self, prompt: str, completion: str) -> list[tuple[int, int]]:
        """Tokens of the completion behind the prompt's own tokens, as inference writes them, and
        the character of the completion that each begins at.

        A token that would span both is split at the seam: at inference the prompt ends there.
        """
        before = self._ids(prompt)
        if (found := self._after(before, prompt, completion)) is not None:
            return found
        # A newline in front keeps SentencePiece from adding a space to the completion's start
        if (found := self._after(self._ids("\n"), "\n", completion)) is not None:
            return found
        encoding = unlocked.encoded(self._fast, completion, special=False)
        return [(i, begin) for i, (begin, _) in zip(encoding.ids, encoding.offsets, strict=True)]

    def _after(self, before: list[int], text: str, more: str) -> list[tuple[int, int]] | None:
        """Tokens of `more` where text + more begins with the tokens of `text`, `before`."""
        whole = unlocked.encoded(self._fast, text + more, special=False)
        if whole.ids[: len(before)] != before:
            return None
        places = [begin - len(text) for begin, _ in whole.offsets]
        return list(zip(whole.ids, places, strict=True))[len(before) :]


def _lost_thoughts(messages: list[dict[str, Any]], texts: list[str]) -> Iterable[Remark]:
    for index, message in enumerate(messages):
        reasoning = message.get("reasoning_content", "").strip()
        if reasoning and not any(reasoning in text for text in texts):
            yield Remark("reasoning_dropped", index, "reasoning_content")
