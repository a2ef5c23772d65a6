"""A GGUF file becomes the same model in plain safetensors: weights, settings, tokens, template."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from faults import UserFault
from finetune.packaging.base import import_base
from tests.finetune.packaging.gguf_file import write_gguf
from tests.tiny import build_tiny_base


def bring(source: Path, store: Path, **changes):
    return import_base(source, store, name="tiny", licence="MIT", source_label="t", **changes)


@pytest.mark.parametrize("tied", [True, False])
def test_an_unpacked_model_computes_what_the_packed_one_did(tied, tmp_path):
    origin = build_tiny_base(tmp_path / "origin", tied=tied)
    info = bring(write_gguf(origin, tmp_path / "tiny.gguf"), tmp_path / "store")
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "store" / info.path)
    expected = AutoModelForCausalLM.from_pretrained(origin, dtype=torch.bfloat16)
    for name, weight in expected.state_dict().items():
        assert torch.equal(stored.state_dict()[name], weight), name
    assert info.tied_head is tied
    assert info.dtype == "bfloat16"


def test_quantised_blocks_are_unpacked_to_within_their_step(tiny_base, tmp_path):
    packed = write_gguf(tiny_base, tmp_path / "tiny.gguf", quantised=True)
    info = bring(packed, tmp_path / "store")
    stored = load_file(tmp_path / "store" / info.path / "model.safetensors")
    for name, weight in load_file(tiny_base / "model.safetensors").items():
        step = weight.abs().max() / 127  # Q8_0: 255 levels over each block of 32
        assert stored[name].dtype == torch.bfloat16
        assert (stored[name].float() - weight).abs().max() <= step, name
    assert any("quantisation" in notice for notice in info.notices)


def test_settings_come_back_as_they_were_meant(tiny_base, tmp_path):
    info = bring(write_gguf(tiny_base, tmp_path / "tiny.gguf"), tmp_path / "store")
    stored = json.loads((tmp_path / "store" / info.path / "config.json").read_text())
    origin = json.loads((tiny_base / "config.json").read_text())
    for key in ("rms_norm_eps", "rope_parameters", "max_position_embeddings", "eos_token_id"):
        assert stored[key] == origin[key]
    assert not [key for key in stored if key.startswith("_")]


def test_tokens_and_template_survive(tiny_base, tmp_path):
    packed = write_gguf(tiny_base, tmp_path / "tiny.gguf", pre="gpt-2")
    info = bring(packed, tmp_path / "store")
    ours = AutoTokenizer.from_pretrained(tmp_path / "store" / info.path)
    theirs = AutoTokenizer.from_pretrained(tiny_base)
    text = "set 21 degrees<|im_end|>\n  开灯 é"
    assert ours(text).input_ids == theirs(text).input_ids
    assert ours.decode(ours(text).input_ids) == text
    assert ours.chat_template == theirs.chat_template
    assert (ours.eos_token, ours.pad_token) == (theirs.eos_token, theirs.pad_token)


def test_every_digit_stands_alone_under_the_smollm_rule(tiny_base, tmp_path):
    info = bring(write_gguf(tiny_base, tmp_path / "tiny.gguf"), tmp_path / "store")
    core = json.loads((tmp_path / "store" / info.path / "tokenizer.json").read_text())
    assert core["pre_tokenizer"]["pretokenizers"][0] == {
        "type": "Digits",
        "individual_digits": True,
    }


def test_a_splitting_rule_that_cannot_be_rebuilt_is_refused(tiny_base, tmp_path):
    packed = write_gguf(tiny_base, tmp_path / "tiny.gguf", pre="deepseek-coder")
    with pytest.raises(UserFault) as fault:
        bring(packed, tmp_path / "store")
    assert fault.value.code == "gguf_tokenizer_unknown"


def test_a_file_without_a_template_needs_one_given(tiny_base, tmp_path):
    packed = write_gguf(tiny_base, tmp_path / "tiny.gguf", template=False)
    with pytest.raises(UserFault) as fault:
        bring(packed, tmp_path / "store")
    assert fault.value.code == "no_chat_template"
    info = bring(packed, tmp_path / "store", chat_template=tiny_base / "chat_template.jinja")
    assert info.chat_template


@pytest.mark.parametrize("keep", [3, 100, 5000, -100])
def test_a_cut_off_file_is_refused(keep, tiny_base, tmp_path):
    whole = write_gguf(tiny_base, tmp_path / "tiny.gguf")
    (tmp_path / "cut.gguf").write_bytes(whole.read_bytes()[:keep])
    with pytest.raises(UserFault) as fault:
        bring(tmp_path / "cut.gguf", tmp_path / "store")
    assert fault.value.code == "gguf_unreadable"


@pytest.mark.slow
def test_smollm2_matches_its_publishers_settings_and_answers(smollm2):
    config = json.loads((smollm2 / "config.json").read_text())
    # https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json
    published = {
        "architectures": ["LlamaForCausalLM"],
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "max_position_embeddings": 8192,
        "num_attention_heads": 9,
        "num_hidden_layers": 30,
        "num_key_value_heads": 3,
        "rms_norm_eps": 1e-05,
        "tie_word_embeddings": True,
        "vocab_size": 49152,
        "rope_parameters": {"rope_theta": 100000.0, "rope_type": "default"},
    }
    assert {key: config[key] for key in published} == published
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    assert tokenizer.tokenize("in 2024") == ["in", "Ġ", "2", "0", "2", "4"]
    model = AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0]
    said = tokenizer.decode(answer[prompt["input_ids"].shape[1] :])
    assert "Paris" in said
    assert said.endswith("<|im_end|>")
