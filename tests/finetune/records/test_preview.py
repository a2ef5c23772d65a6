"""What a preview shows is what is trained, token by token, and readable."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.records.check.spec import CheckSpec, RowFormat
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.infilling import Holes
from finetune.records.pieces import Preview
from finetune.records.preview import SHOWN_TOKENS, Previewer
from tests.tiny import build_tiny_base

CHAT: Any = {
    "messages": [
        {"role": "user", "content": "turn on the lamp"},
        {"role": "assistant", "content": "厨房 👍 on"},
        {"role": "user", "content": "thanks"},
        {"role": "assistant", "content": "ok", "weight": 0},
    ]
}


def previewer(base: Path, **settings: Any) -> Previewer:
    return Previewer.of(CheckSpec(source=base, source_name="", **settings), load_tokenizer(base))


def test_a_hole_counts_its_control_tokens_and_keeps_within_the_limit(tmp_path: Path) -> None:
    names = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>"]
    base = build_tiny_base(tmp_path, control=names)
    row: Any = {"text": "turn on the light in the kitchen please " * 9}
    holes = Holes(1.0, spm_rate=0.0)
    whole = previewer(base)
    plain, shown = whole.preview(row, "text"), whole.preview(row, "text", holes)
    assert shown.tokens >= plain.tokens + 3
    assert shown.trained == shown.tokens - 1
    assert shown == whole.preview(row, "text", holes)
    chunked = previewer(base, max_length=24, overflow="chunk").preview(row, "text", holes)
    lengths = [sum(len(piece.ids) for piece in each) for each in chunked.sequences]
    assert len(lengths) > 3
    assert max(lengths) <= 24


@pytest.fixture(scope="module")
def plain(tiny_base: Path) -> Previewer:
    return previewer(tiny_base)


def flat(shown: Preview) -> tuple[list[int], list[bool]]:
    pieces = [piece for each in shown.sequences for piece in each]
    ids = [token for piece in pieces for token in piece.ids]
    return ids, [piece.trained for piece in pieces for _ in piece.ids]


def text_of(shown: Preview, *, trained: bool) -> str:
    return "".join(p.text for each in shown.sequences for p in each if p.trained == trained)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (CHAT, "chat"),
        ({"prompt": "1 + 1 =", "completion": " 2"}, "completion"),
        ({"text": "Ein Satz."}, "text"),
    ],
)
def test_it_has_the_tokens_and_labels_of_training(
    plain: Previewer, tiny_base: Path, row: Any, kind: RowFormat
) -> None:
    shown = plain.preview(row, kind)
    encoded = RowEncoder(load_tokenizer(tiny_base)).encode(row)
    assert flat(shown) == (encoded.input_ids, encoded.trained)
    assert (shown.tokens, shown.trained) == (len(encoded.input_ids), encoded.trained_count)
    assert shown.used
    assert shown.hidden == 0


def test_what_a_pair_says_beside_its_texts_is_told(plain: Previewer) -> None:
    pair: Any = {"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}
    told = plain.preview(pair | {"margin": 1.5}, "chosen")
    assert (told.parts, told.margin) == (["chosen", "rejected"], 1.5)
    assert plain.preview(pair, "chosen").margin is None


def test_it_reads_as_the_template_writes_it(plain: Previewer) -> None:
    shown = plain.preview(CHAT, "chat")
    assert text_of(shown, trained=True) == "厨房 👍 on<|im_end|>"
    assert "turn on the lamp<|im_end|>" in text_of(shown, trained=False)
    special = [piece.text for piece in shown.sequences[0] if piece.special]
    assert set(special) == {"<|im_start|>", "<|im_end|>"}


@given(st.text(max_size=40))
@settings(max_examples=50)
def test_any_text_reads_as_it_was_written(plain: Previewer, text: str) -> None:
    """Behind an ASCII letter: the first token has nothing before it, and so another label."""
    shown = plain.preview({"text": f"a{text}"}, "text")
    assert "".join(piece.text for piece in shown.sequences[0]) == f"a{text}<|im_end|>"


def test_what_is_cut_left_out_or_refused_is_said(tiny_base: Path) -> None:
    cut = previewer(tiny_base, max_length=30, overflow="cut").preview(CHAT, "chat")
    assert (cut.tokens, cut.used) == (30, True)
    assert {each.code for each in cut.problems} == {"too_long_cut", "answer_cut"}
    for overflow, code in (("drop", "too_long_dropped"), ("refuse", "too_long")):
        gone = previewer(tiny_base, max_length=30, overflow=overflow).preview(CHAT, "chat")
        assert (gone.used, gone.sequences) == (False, [])
        assert [each.code for each in gone.problems] == [code]
        assert gone.problems[0].values == {"tokens": plain_length(tiny_base), "limit": 30}
    assert "cut_to" not in CHAT, "the row that was given is left as it was"


def plain_length(base: Path) -> int:
    return previewer(base).preview(CHAT, "chat").tokens


def test_a_row_that_cannot_be_encoded_says_why(plain: Previewer) -> None:
    forged: Any = {"messages": [
        {"role": "user", "content": "hi <|im_end|>"}, {"role": "assistant", "content": "ok"},
    ]}  # fmt: skip
    shown = plain.preview(forged, "chat")
    assert not shown.used
    assert [each.code for each in shown.problems] == ["control_token_in_message"]


def test_a_row_without_end_is_shown_as_far_as_anybody_reads(plain: Previewer) -> None:
    shown = plain.preview({"text": "word " * SHOWN_TOKENS}, "text")
    assert shown.hidden == shown.tokens - SHOWN_TOKENS > 0
    assert len(flat(shown)[0]) == SHOWN_TOKENS
