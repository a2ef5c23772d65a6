"""The batched engine gives what transformers and peft give, row by row."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from faults import UserFault
from finetune.families.adapters.assignment import Adapter
from finetune.serving.bases import Base, load_base
from finetune.serving.lane import Lane, Limits

from .conftest import Answer, Batch, ask, read_files

QUESTIONS = [
    "turn on the light",
    "x",
    "set the temperature in the bedroom to 21 degrees, and then " * 9,
    "开灯",
    "switch off the fan in the living room please",
]


def chat(text: str, **fields: Any) -> Any:
    return ask(messages=[{"role": "user", "content": text}], **fields)


def reference(model: Any, answer: Answer, stop: frozenset[int], tokens: int = 24) -> list[int]:
    """What transformers writes to one prompt alone."""
    prompt = torch.tensor([answer.ticket.prompt])
    written = model.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=sorted(stop),
    )
    ids: list[int] = written[0, prompt.shape[1] :].tolist()
    return ids


@pytest.fixture
def plain(tiny_base: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_base)


def test_a_batch_of_unequal_prompts_writes_what_generate_writes_one_by_one(
    batch: Batch, base: Base, plain: Any
) -> None:
    answers = batch(*(chat(q, max_tokens=24) for q in QUESTIONS))
    for answer in answers:
        assert answer.ids() == reference(plain, answer, base.stop_ids)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_prompts_read_in_pieces_give_the_same_answer(batch: Batch, chunk: int) -> None:
    whole = batch(*(chat(q) for q in QUESTIONS))
    pieces = batch(*(chat(q) for q in QUESTIONS), limits=Limits(chunk=chunk))
    assert [a.ids() for a in pieces] == [a.ids() for a in whole]


def test_more_requests_than_rows_take_turns_and_all_end(batch: Batch) -> None:
    many = [chat(f"light {i}", max_tokens=3 + i % 5) for i in range(12)]
    narrow = batch(*many, limits=Limits(rows=3))
    wide = batch(*many)
    assert [a.ids() for a in narrow] == [a.ids() for a in wide]


def test_answers_put_off_for_lack_of_memory_go_on_where_they_were(
    batch: Batch, base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_off: list[int] = []
    make_room = Lane._make_room

    def watched(lane: Lane) -> None:
        before = len(lane.running)
        make_room(lane)
        put_off.append(before - len(lane.running))

    long = [chat(f"light {i}", max_tokens=200, n=2, temperature=1.0, seed=i) for i in range(4)]
    roomy = batch(*long)
    monkeypatch.setattr(Lane, "_make_room", watched)
    # the answers that go on to 200 tokens cannot all stand in 200 tokens' room
    tight = batch(*long, limits=Limits(kv_bytes=200 * base.model.kv_bytes_per_token))
    assert sum(put_off) > 0
    for choice in (0, 1):
        assert [a.ids(choice) for a in tight] == [a.ids(choice) for a in roomy]


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "pattern"])
def test_an_adapter_answers_as_peft_does(
    batch: Batch,
    base: Base,
    plain: Any,
    adapters: dict[str, Adapter],
    adapter_folders: dict[str, Path],
    kind: str,
) -> None:
    bare, adapted = batch(chat("turn on"), (chat("turn on", max_tokens=24), adapters[kind]))
    peft = PeftModel.from_pretrained(plain, adapter_folders[kind])
    assert adapted.ids() == reference(peft, adapted, base.stop_ids)
    assert adapted.ids()[:16] != bare.ids()


def test_adapters_in_one_batch_do_not_touch_each_other(
    batch: Batch, adapters: dict[str, Adapter]
) -> None:
    chosen = [None, adapters["lora"], adapters["other"], adapters["dora"], adapters["lora"]]
    requests = [
        chat(q) if adapter is None else (chat(q), adapter)
        for q, adapter in zip(QUESTIONS, chosen, strict=True)
    ]
    together = batch(*requests)
    alone = [batch(request)[0] for request in requests]
    assert [a.ids() for a in together] == [a.ids() for a in alone]
    assert len({tuple(a.ids()) for a in together}) == len(QUESTIONS)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"peft_type": "IA3"}, "adapter_unsupported"),
        ({"modules_to_save": ["lm_head"]}, "adapter_unsupported"),
        ({"init_lora_weights": "pissa"}, "adapter_unsupported"),
        ({"bias": "all"}, "adapter_unsupported"),
        ({"use_dora": True}, "adapter_mismatch"),
    ],
)
def test_an_adapter_that_would_be_applied_in_part_is_refused(
    base: Base, adapter_folders: dict[str, Path], change: dict[str, Any], code: str
) -> None:
    weights, config = read_files(adapter_folders["lora"])
    with pytest.raises(UserFault) as caught:
        base.model.read_adapter(weights, config | change)
    assert caught.value.code == code


def test_an_adapter_of_another_base_is_refused(
    base: Base, tmp_path: Path, adapter_folders: dict[str, Path]
) -> None:
    from tests.tiny import build_tiny_base

    wider = load_base(build_tiny_base(tmp_path / "b", hidden=64), "wide", "fp32")
    with pytest.raises(UserFault) as caught:
        wider.model.read_adapter(*read_files(adapter_folders["lora"]))
    assert caught.value.code == "adapter_mismatch"


def test_bytes_that_are_no_safetensors_are_refused(base: Base) -> None:
    with pytest.raises(UserFault) as caught:
        base.model.read_adapter(b"\x80\x04 a pickle", {"peft_type": "LORA"})
    assert caught.value.code == "adapter_unsupported"


def test_a_broken_adapter_fails_its_own_request_only(
    batch: Batch, base: Base, adapters: dict[str, Adapter]
) -> None:
    layers = {
        name: replace(layer, down=layer.down * torch.nan)
        for name, layer in adapters["lora"].layers.items()
    }
    good, bad = batch(chat("turn on"), (chat("turn on"), Adapter(layers)))
    assert bad.error is not None
    assert bad.error.code == "not_a_number"
    assert good.error is None
    assert good.reason() in ("stop", "length")


def test_a_model_that_is_not_all_attention_is_refused(tmp_path: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    from tests.tiny import build_tokenizer

    tokenizer = build_tokenizer()
    config = MambaConfig(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1)
    MambaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(UserFault) as caught:
        load_base(tmp_path, "mamba")
    assert caught.value.code == "architecture_unsupported"
