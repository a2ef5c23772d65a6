"""Text as it streams: whole characters only, no part of a stop sequence, calls in one piece."""

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.records.vocabulary import Vocabulary
from finetune.serving.detokenize import Detokenizer
from finetune.serving.stops import StopWatch
from finetune.serving.tools import HERMES, BareCall, MarkedCalls, dialect
from tests.tiny import build_tokenizer

TOKENIZER: Any = build_tokenizer()


def stream(ids: list[int]) -> list[str]:
    reader = Detokenizer(TOKENIZER)
    return [*(reader.push(token) for token in ids), reader.flush()]


@given(st.text(max_size=40))
@settings(max_examples=200, deadline=None)
def test_streamed_text_is_the_text(text: str) -> None:
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    pieces = stream(ids)
    assert "".join(pieces) == TOKENIZER.decode(ids, skip_special_tokens=True)
    if "\ufffd" not in text:
        assert not any("\ufffd" in piece for piece in pieces)


@given(st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30))
@settings(max_examples=200, deadline=None)
def test_any_tokens_add_up_to_their_decoding(ids: list[int]) -> None:
    assert "".join(stream(ids)) == TOKENIZER.decode(ids, skip_special_tokens=True)


def test_an_emoji_comes_out_when_its_last_byte_has_come() -> None:
    ids = TOKENIZER.encode("🛋", add_special_tokens=False)
    assert len(ids) == 4
    assert stream(ids) == ["", "", "", "🛋", ""]


def test_a_character_that_is_never_completed_shows_at_the_end() -> None:
    ids = TOKENIZER.encode("a开", add_special_tokens=False)
    assert stream(ids[:-1]) == ["a", *[""] * (len(ids) - 2), "\ufffd"]


@given(st.text(max_size=30))
@settings(max_examples=100, deadline=None)
def test_bytes_of_tokens_add_up_to_the_text(text: str) -> None:
    vocabulary = Vocabulary(TOKENIZER)
    ids = TOKENIZER.encode(text, add_special_tokens=False)
    joined = b"".join(vocabulary.bytes_of(token) for token in ids)
    assert joined.decode() == text or any(token < 3 for token in ids)


def test_pieces_of_sentencepiece_are_bytes_spaces_and_text() -> None:
    class Pieces:
        class backend_tokenizer:
            decoder = None

        def convert_ids_to_tokens(self, token: int) -> str:
            return ["<0xE5>", "▁light", "开"][token]

    vocabulary = Vocabulary(Pieces())
    assert [vocabulary.bytes_of(i) for i in range(3)] == [b"\xe5", b" light", "开".encode()]


@given(st.text("abcEND", max_size=30), st.integers(1, 5))
@settings(max_examples=300, deadline=None)
def test_nothing_of_a_stop_sequence_is_shown_however_text_is_cut(text: str, size: int) -> None:
    watch, shown = StopWatch(["END", "bb"]), ""
    for at in range(0, len(text), size):
        shown += watch.push(text[at : at + size])
        if watch.stopped:
            break
    shown += watch.flush()
    ends = [at for stop in ("END", "bb") if (at := text.find(stop)) >= 0]
    assert shown == (text[: min(ends)] if ends else text)
    assert watch.stopped == bool(ends)


def test_text_that_cannot_become_a_stop_sequence_is_shown_at_once() -> None:
    watch = StopWatch(["END"])
    assert [watch.push(part) for part in ("xE", "N", "x", "E")] == ["x", "", "ENx", ""]


CALL = '<tool_call>\n{"name": "turn_on", "arguments": {"area": "厨房"}}\n</tool_call>'


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_call_comes_in_one_piece_and_not_as_text(size: int) -> None:
    reader, said, calls = MarkedCalls(), "", []
    text = "Wait. " + CALL + "\n" + CALL
    for at in range(0, len(text), size):
        more, found = reader.push(text[at : at + size])
        said += more
        calls += found
    assert said + reader.flush()[0] == "Wait. "
    assert [(call.index, call.name) for call in calls] == [(0, "turn_on"), (1, "turn_on")]
    assert json.loads(calls[0].arguments) == {"area": "厨房"}
    assert calls[0].id != calls[1].id


def test_a_list_of_calls_is_read_as_smollm_writes_it() -> None:
    _, calls = MarkedCalls().push('<tool_call>[{"name": "a"}, {"name": "b"}]</tool_call>')
    assert [call.name for call in calls] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>not json</tool_call>",
        '<tool_call>{"x": 1}</tool_call>',
        "<tool_call>{",
        f"<tool_call>{'[' * 20_000}</tool_call>",
        f'<tool_call>{{"name": "a", "arguments": {"9" * 5000}}}</tool_call>',
        '<tool_call>{"name": "a", "arguments": {"x": NaN}}</tool_call>',
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    reader = MarkedCalls()
    said, calls = reader.push(text)
    assert (said + reader.flush()[0], calls) == (text, [])


def test_a_number_beyond_any_float_leaves_the_arguments_json() -> None:
    said = '<tool_call>{"name": "a", "arguments": {"x": [1e999, -1e999, 2.5]}}</tool_call>'
    _, (call,) = MarkedCalls().push(said)
    told = json.loads(call.arguments, parse_constant=pytest.fail)  # `Infinity` is no JSON
    assert told["x"] == [sys.float_info.max, -sys.float_info.max, 2.5]


def test_only_templates_that_write_such_calls_are_read_so() -> None:
    assert dialect("...<tool_call>{{ call | tojson }}</tool_call>...", None) is HERMES
    assert dialect("<tool_call>\n<function={{ name }}>", None) is None
    assert dialect("<|im_start|>", None) is None
    assert dialect(None, None) is None


@pytest.mark.parametrize("size", [1, 1000])
def test_an_answer_that_is_one_call_is_read_as_llama_writes_it(size: int) -> None:
    def read(text: str) -> tuple[str, list[str]]:
        reader, said, calls = BareCall(), "", []
        for at in range(0, len(text), size):
            more, found = reader.push(text[at : at + size])
            said, calls = said + more, calls + found
        more, found = reader.flush()
        return said + more, [call.name + call.arguments for call in calls + found]

    assert read(' {"name": "on", "parameters": {"a": 1}}') == ("", ['on{"a": 1}'])
    for text in ('Well: {"name": "on"}', '{"x": 1}', '{"name": "on"', "", " "):
        assert read(text) == (text, [])
