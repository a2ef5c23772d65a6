"""What a request asks for, it gets: choices, seeds, stops, log-probabilities, echo, limits."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from faults import OurFault, UserFault
from finetune.serving.bases import Base, load_base
from finetune.serving.choice import Choice
from finetune.serving.lane import Limits
from finetune.serving.protocol import Delta, Usage
from finetune.serving.sampling import Sampler, stream
from finetune.serving.scheduler import Scheduler
from finetune.serving.stops import StopWatch
from finetune.serving.ticket import Ticket, encode_prompt
from finetune.serving.tools import MarkedCalls
from tests.tiny import build_tiny_base

from .conftest import Batch, ask


def test_the_deltas_are_the_answer_and_the_last_has_the_usage(batch: Batch, base: Base) -> None:
    (answer,) = batch(ask())
    assert answer.text() == base.tokenizer.decode(answer.ids(), skip_special_tokens=True)
    usage = answer.deltas[-1].usage
    assert usage is not None
    assert usage.prompt_tokens == len(answer.ticket.prompt)
    assert usage.completion_tokens == len(answer.ids())
    assert len(answer.deltas) > 3  # it did stream


def test_a_limit_of_tokens_ends_with_length(batch: Batch) -> None:
    (answer,) = batch(ask(max_tokens=5))
    assert (len(answer.ids()), answer.reason()) == (5, "length")


def test_the_context_ends_what_has_no_limit(batch: Batch, base: Base) -> None:
    ids = [5] * (base.context_length - 4)
    (answer,) = batch(ask(prompt=ids, max_tokens=None))
    assert answer.reason() == "length" or answer.ids()[-1] in base.stop_ids
    assert len(answer.ids()) <= 4


def test_a_prompt_longer_than_the_context_is_refused_with_both_numbers(base: Base) -> None:
    with pytest.raises(UserFault) as caught:
        encode_prompt(base, ask(prompt=[5] * base.context_length))
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "prompt"
    assert "512" in caught.value.message


@pytest.mark.parametrize("prompt", [[], [-1], [100000], ""])
def test_prompts_without_a_usable_token_are_refused(base: Base, prompt: Any) -> None:
    with pytest.raises(UserFault) as caught:
        encode_prompt(base, ask(prompt=prompt))
    assert caught.value.code == "invalid_prompt"


def test_a_suffix_is_refused_where_the_base_cannot_fill_in(base: Base) -> None:
    with pytest.raises(UserFault) as caught:
        encode_prompt(base, ask(prompt="a", suffix="b"))
    assert (caught.value.code, caught.value.param) == ("cannot_infill", "suffix")


def test_a_hole_is_filled_in_from_both_sides_until_a_token_of_the_dialect(
    batch: Batch, tmp_path: Path
) -> None:
    names = ["<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|file_sep|>", "<|fim_pad|>"]
    coder = load_base(build_tiny_base(tmp_path, control=names), "coder", "fp32")
    assert isinstance(coder, Base)
    number = coder.tokenizer.convert_tokens_to_ids
    before, behind = (coder.tokenizer.encode(text) for text in ("turn on", "the light"))
    asked = ask(prompt="turn on", suffix="the light", max_tokens=6)
    [free] = batch(asked, on=coder)
    assert free.ticket.prompt == [
        number("<|fim_prefix|>"), *before, number("<|fim_suffix|>"), *behind,
        number("<|fim_middle|>"),
    ]  # fmt: skip
    assert free.deltas[-1].usage == Usage(
        prompt_tokens=len(free.ticket.prompt), completion_tokens=len(free.ids())
    )
    # Each of the dialect's tokens ends the middle; in a plain completion none of them does
    for name in names:
        bias = {number(name): 100.0}
        [ended] = batch(asked.model_copy(update={"logit_bias": bias}), on=coder)
        assert (ended.text(), ended.ids(), ended.reason()) == ("", [number(name)], "stop")
        [plain] = batch(ask(prompt="turn on", logit_bias=bias, max_tokens=2), on=coder)
        assert (plain.ids(), plain.reason()) == ([number(name)] * 2, "length")
    [empty] = batch(ask(prompt="", suffix="the light", max_tokens=1), on=coder)
    assert empty.ticket.prompt[0] == number("<|fim_prefix|>")


def test_the_end_of_turn_ends_the_answer_and_is_not_shown(base: Base) -> None:
    choice = Choice(
        index=0,
        base=base,
        ids=[5],
        limit=9,
        sampler=Sampler(0, 1, stream(0, 0)),
        stop=StopWatch([]),
        tools=None,
        top_logprobs=None,
    )
    word = base.tokenizer.encode("ok", add_special_tokens=False)
    shown = [choice.accept(token, None) for token in [*word, base.tokenizer.eos_token_id]]
    assert "".join(delta.text for delta in shown if delta) == "ok"
    assert shown[-1] is not None
    assert shown[-1].finish_reason == "stop"
    assert base.tokenizer.convert_tokens_to_ids("<|im_end|>") in base.stop_ids


def test_stop_sequences_across_tokens_are_never_shown(batch: Batch) -> None:
    (free,) = batch(ask(max_tokens=12, prompt="turn on", logprobs=True))
    text = free.text()
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    (stopped,) = batch(ask(max_tokens=12, prompt="turn on", stop=[stop], logprobs=True))
    assert stopped.reason() == "stop"
    assert stopped.text() == text[: text.index(stop)]
    shown = [entry for delta in stopped.deltas for entry in delta.logprobs]
    assert all(entry.text_offset < len(stopped.text()) for entry in shown)


def test_n_choices_differ_and_each_is_what_its_seed_gives(batch: Batch) -> None:
    request = ask(n=4, temperature=1.0, seed=11, max_tokens=20)
    (first,) = batch(request)
    again, _, _ = batch(request, ask(n=3, temperature=1.5), ask(prompt="x"))
    choices = [first.ids(i) for i in range(4)]
    assert len({tuple(ids) for ids in choices}) == 4
    assert choices == [again.ids(i) for i in range(4)]
    (other,) = batch(ask(n=4, temperature=1.0, seed=12, max_tokens=20))
    assert other.ids(0) != first.ids(0)
    usage = first.deltas[-1].usage
    assert usage is not None
    assert usage.completion_tokens == sum(len(ids) for ids in choices)


def test_more_choices_than_rows_are_all_answered(batch: Batch) -> None:
    request = ask(prompt="go", echo=True, logprobs=True, n=5, temperature=1.0, seed=1)
    (narrow,) = batch(request, limits=Limits(rows=2))
    (wide,) = batch(request)
    assert [narrow.text(i) for i in range(5)] == [wide.text(i) for i in range(5)]


def test_logprobs_are_those_of_the_model(batch: Batch, tiny_base: Path) -> None:
    request = ask(logprobs=True, top_logprobs=3, temperature=0.7, seed=5, max_tokens=10)
    (answer,) = batch(request)
    entries = [entry for delta in answer.deltas for entry in delta.logprobs]
    ids = answer.ticket.prompt + answer.ids()
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():
        table = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
    assert len(entries) == len(answer.ids())
    for at, entry in enumerate(entries):
        row = table[len(answer.ticket.prompt) + at - 1]
        assert entry.logprob is not None
        assert math.isclose(entry.logprob, float(row[answer.ids()[at]]), rel_tol=1e-3)
        best = [alternative.logprob for alternative in entry.top_logprobs]
        assert best == pytest.approx(row.topk(3).values.tolist(), rel=1e-3)
    written = b"".join(bytes(entry.bytes) for entry in entries)
    assert written.decode(errors="replace") == answer.text()


@pytest.mark.parametrize("chunk", [2, 64])
def test_echo_gives_the_prompt_back_with_its_logprobs(
    batch: Batch, tiny_base: Path, chunk: int
) -> None:
    request = ask(prompt="turn on 厨房", echo=True, logprobs=True, top_logprobs=1, max_tokens=3)
    answer, _ = batch(request, ask(), limits=Limits(scored_chunk=chunk))
    assert answer.text().startswith("turn on 厨房")
    entries = [entry for delta in answer.deltas for entry in delta.logprobs]
    ids = answer.ticket.prompt + answer.ids()
    assert len(entries) == len(ids)
    assert entries[0].logprob is None
    model = AutoModelForCausalLM.from_pretrained(tiny_base)
    with torch.no_grad():
        table = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
    expected = [float(table[at, token]) for at, token in enumerate(ids[1:])]
    assert [entry.logprob for entry in entries[1:]] == pytest.approx(expected, rel=1e-3)
    assert entries[len(answer.ticket.prompt)].text_offset == len("turn on 厨房")


def test_no_tokens_and_an_echo_score_the_prompt_alone(batch: Batch) -> None:
    asked = {"prompt": "turn on", "echo": True, "logprobs": True, "n": 2}
    alone, _ = batch(ask(max_tokens=0, **asked), ask())
    (longer,) = batch(ask(max_tokens=1, **asked))
    for index in range(2):
        assert (alone.text(index), alone.reason(index)) == ("turn on", "length")
        told = [e for d in alone.deltas if d.index == index for e in d.logprobs]
        further = [e for d in longer.deltas if d.index == index for e in d.logprobs]
        assert told == further[:-1]
    usage = alone.deltas[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 0


def test_a_banned_token_never_comes_and_a_wanted_one_always(batch: Batch) -> None:
    (free,) = batch(ask(prompt="turn on", max_tokens=6))
    banned = dict.fromkeys(free.ids(), -100.0)
    one, other = batch(
        ask(prompt="turn on", max_tokens=6, logit_bias=banned),
        ask(prompt="turn on", max_tokens=6, logit_bias={65: 100.0}, n=2),
    )
    assert not set(one.ids()) & set(free.ids())
    assert other.ids(0) == other.ids(1) == [65] * 6


def test_penalties_keep_an_answer_from_repeating_itself(batch: Batch) -> None:
    wanted = dict.fromkeys((65, 66, 67), 50.0)
    asked = {"prompt": "turn", "max_tokens": 9, "logit_bias": wanted}
    once, often = batch(ask(presence_penalty=2.0, **asked), ask(frequency_penalty=2.0, **asked))
    assert set(once.ids()[:3]) == set(wanted)
    assert {often.ids().count(token) for token in wanted} <= {2, 3, 4}


def test_a_bias_on_a_token_that_the_model_lacks_is_refused(base: Base) -> None:
    with pytest.raises(UserFault) as caught:
        encode_prompt(base, ask(logit_bias={320: 1.0}))
    assert caught.value.param == "logit_bias"
    assert "0 to 319" in caught.value.message


def test_a_call_ends_with_tool_calls_and_leaves_no_text(base: Base) -> None:
    choice = Choice(
        index=0,
        base=base,
        ids=[5],
        limit=400,
        sampler=Sampler(0, 1, stream(0, 0)),
        stop=StopWatch([]),
        tools=MarkedCalls(),
        top_logprobs=None,
    )
    written = '<tool_call>\n{"name": "on", "arguments": {"a": 1}}\n</tool_call>'
    ids = base.tokenizer.encode(written, add_special_tokens=False)
    shown = [choice.accept(token, None) for token in [*ids, base.tokenizer.eos_token_id]]
    deltas = [delta for delta in shown if delta is not None]
    assert "".join(delta.text for delta in deltas) == ""
    assert [call.name for delta in deltas for call in delta.tool_calls] == ["on"]
    assert deltas[-1].finish_reason == "tool_calls"


def test_a_cancelled_request_leaves_the_batch_and_the_others_go_on(base: Base) -> None:
    import threading

    scheduler = Scheduler(Limits(), threads=1)
    seen: dict[str, list[Delta]] = {"gone": [], "stays": []}
    finished = threading.Event()
    tickets: dict[str, Ticket] = {}

    def listener(name: str) -> Any:
        def emit(item: Any) -> None:
            seen[name].append(item)
            if name == "gone":
                tickets["gone"].cancelled = True
            elif item.usage is not None:
                finished.set()

        return emit

    for name, limit in (("gone", 400), ("stays", 40)):
        request = ask(max_tokens=limit, prompt="turn")
        prompt = encode_prompt(base, request)
        tickets[name] = Ticket(request, base, None, prompt, listener(name))
        scheduler.submit(tickets[name])
    scheduler.start()
    finished.wait()
    scheduler.stop()
    assert len(seen["gone"]) == 1
    assert tickets["gone"].choices[0].generated < 40


def test_too_many_waiting_requests_are_turned_away_by_name(base: Base) -> None:
    scheduler = Scheduler(Limits(), max_waiting=2, threads=1)
    request = ask()
    prompt = encode_prompt(base, request)
    for _ in range(2):
        scheduler.submit(Ticket(request, base, None, prompt, lambda item: None))
    with pytest.raises(OurFault) as caught:
        scheduler.submit(Ticket(request, base, None, prompt, lambda item: None))
    assert caught.value.code == "overloaded"
