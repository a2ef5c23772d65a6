"""The GGUF forms: files that llama.cpp itself reads as the merged model, or none at all."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from gguf import TokenType
from transformers import AutoModelForCausalLM

from faults import OurFault, UserFault
from finetune.packaging.bundle import tar
from finetune.packaging.forms import GGUF
from finetune.packaging.llama_cpp import build, evaluated, said, writing
from finetune.packaging.llama_cpp.build import GgufInfo, build_gguf
from finetune.packaging.llama_cpp.mixture import Tensor, type_of
from finetune.packaging.llama_cpp.modelfile import modelfile, turns_of
from finetune.packaging.llama_cpp.native import opened
from finetune.packaging.llama_cpp.vocabulary import _tokens
from finetune.packaging.oci import write_layout
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from finetune.records.encode import RowEncoder, load_tokenizer
from tests.finetune.families.bases import BASES
from tests.finetune.packaging.test_oci import read
from tests.tiny import build_tokenizer

vocabulary_tokens = writing.vocabulary._tokens
DIGEST = "sha256:" + "1" * 64


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same lines, without a start of Python: services/models/test_artifacts.py has that."""

    def run(command: list[str], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        said.main(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(evaluated.subprocess, "run", run)
    monkeypatch.setattr(build, "ANSWER_TOKENS", 4)


def make(out: Path, bundle: Path, signer: Signer, base: Path, form: Any = "gguf-f16") -> GgufInfo:
    info, digest = build_gguf(
        out,
        form=form,
        bundle=bundle,
        artifact=DIGEST,
        license_terms={"licence": "MIT"},
        signer=signer,
        base_dir=base,
    )
    told = verify(out, signer.public_pem)
    assert told.ok, told.problems
    assert told.digest == digest
    return info


def test_llama_cpp_says_what_base_and_adapter_say(
    artifact: Path, signer: Signer, tiny_base: Path, tmp_path: Path
) -> None:
    found = {}
    for form in GGUF:
        out = tmp_path / form
        info = make(out, artifact, signer, tiny_base, form)
        assert json.loads((out / "form.json").read_text())["artifact"] == DIGEST
        found[form] = info.evaluation
        assert {path.name for path in out.iterdir()} == {
            "Modelfile", "README.md", "form.json", "license.json", "manifest.json", "model.gguf",
            "model.sig", "passport.json", "signer.pem",
        }  # fmt: skip
    half, eight, four = (found[form] for form in GGUF)
    assert 0 <= half.divergence < 1e-5 < eight.divergence < four.divergence < half.moved
    assert half.perplexity == pytest.approx(half.original, rel=1e-3)
    assert half.gap < 0.01
    assert info.types == {"F32": 5, "Q5_0": 12, "Q8_0": 3}  # rows of 32 hold no block of 256
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(GGUF)  # nothing left behind
    tar(tmp_path / "gguf-q4_k_m", tmp_path / "form.tar")
    write_layout(tmp_path / "form.tar", tmp_path / "layout")
    told = read(tmp_path / "layout")[1]["config"]
    assert (told["format"], told["quantization"]) == ("gguf", "q4_k_m")
    fields = gguf.GGUFReader(tmp_path / "gguf-f16" / "model.gguf").fields
    template = json.loads((artifact / "manifest.json").read_text())["files"]
    assert "tokenizer/chat_template.jinja" in template
    assert (
        fields["tokenizer.chat_template"].contents()
        == (artifact / "tokenizer" / "chat_template.jinja").read_text()
    )


_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}


@pytest.mark.parametrize(
    ("name", "special"),
    [
        ("LLaMA", {"rope_parameters": _LLAMA3}),
        ("LLaMA", {"attention_bias": True}),
        ("Mistral Small 2501", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4,
                                                    "factor": 4.0}}),
        ("DeepSeek-R1-Distill-Qwen", {}),
        ("Qwen3", {"bos_token_id": 7}),
    ],
)  # fmt: skip
def test_each_architecture_is_the_same_in_llama_cpp(
    name: str, special: dict[str, Any], tmp_path: Path
) -> None:
    made = BASES[name]
    base = type(made)(made.config, made.special | special, made.template).write(tmp_path / "base")
    tokenizer = load_tokenizer(base)
    path = tmp_path / "model.gguf"
    writing.write_gguf(base, path, form="gguf-f16", name="tiny", stops=[tokenizer.eos_token_id])
    row = [token % len(tokenizer) for token in range(5, 400, 3)]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.inference_mode():
        expected = model(torch.tensor([row])).logits[0].log_softmax(-1)
    with opened(path, threads=1) as read:
        logs = torch.tensor(read.logits(row)).log_softmax(-1)
        assert read.ends(tokenizer.eos_token_id)
        assert len(read.answer(row, 3)) <= 3
        for text in evaluated.PASSAGES:
            assert read.tokens(text) == tokenizer(text, add_special_tokens=False).input_ids
    assert float((expected.exp() * (expected - logs)).sum(-1).mean()) < 1e-4
    if tokenizer.bos_token_id is None:  # llama.cpp would take 11
        fields = gguf.GGUFReader(path).fields
        start = fields.get("tokenizer.ggml.bos_token_id")
        assert (start and start.contents()) == model.config.bos_token_id
        assert fields["tokenizer.ggml.add_bos_token"].contents() is False


@pytest.mark.parametrize(
    ("name", "said_of_it"),
    [
        ("Mistral", "slides over 8 tokens"),
        ("Ministral 3, text", "architecture Ministral3ForCausalLM"),
        ("Qwen2", "slides over 8 tokens"),
    ],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused(
    name: str, said_of_it: str, tmp_path: Path
) -> None:
    base = BASES[name].write(tmp_path / "base")
    with pytest.raises(UserFault, match=said_of_it) as caught:
        writing.write_gguf(base, tmp_path / "m.gguf", form="gguf-f16", name="tiny", stops=[1])
    assert caught.value.code == "form_unsupported"


def test_a_tokenizer_whose_rule_has_no_name_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    path = base / "tokenizer.json"
    core = json.loads(path.read_text())
    core["pre_tokenizer"] = {
        "type": "Sequence",
        "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\s"}, "behavior": "Isolated", "invert": False},
            core["pre_tokenizer"] | {"use_regex": False},
        ],
    }
    path.write_text(json.dumps(core))
    with pytest.raises(UserFault, match="splits text"):
        writing.write_gguf(base, tmp_path / "m.gguf", form="gguf-f16", name="tiny", stops=[1])


@pytest.mark.parametrize(
    ("wrong", "said_of_it"),
    [("turned", "diverge"), ("_tokens", "reads .* as other tokens"), ("_add_special", "not end")],
)
def test_a_file_that_is_not_the_model_is_not_made(
    wrong: str,
    said_of_it: str,
    artifact: Path,
    signer: Signer,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if wrong == "turned":  # the rotary pairs as transformers has them
        monkeypatch.setattr(writing.Architecture, "turned", lambda self, name, weight: weight)
    elif wrong == "_tokens":
        monkeypatch.setattr(writing.vocabulary, "_tokens", _swapped)
    else:
        monkeypatch.setattr(writing.vocabulary, "_add_special", lambda *_: None)
        base = Path(shutil.copytree(tiny_base, tmp_path / "base"))
        _renamed(base, "<|im_end|>", "<close>")  # which llama.cpp does not know by its name
        tiny_base = base
    with pytest.raises(OurFault, match=said_of_it) as caught:
        make(tmp_path / "form", artifact, signer, tiny_base)
    assert caught.value.code == "parity_failed"
    assert not [path for path in tmp_path.iterdir() if path.name != "base"]


def _swapped(core: dict[str, Any], size: int) -> tuple[list[str], list[int]]:
    names, kinds = vocabulary_tokens(core, size)
    names[70], names[71] = names[71], names[70]
    return names, kinds


def _renamed(base: Path, old: str, new: str) -> None:
    for path in base.iterdir():
        if path.suffix in (".json", ".jinja"):
            path.write_text(path.read_text().replace(old, new))


def test_bits_that_hold_too_little_are_not_given_out(
    artifact: Path,
    signer: Signer,
    tiny_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(evaluated.MOST_DIVERGENCE, "gguf-q4_k_m", 1e-6)
    with pytest.raises(UserFault) as caught:
        make(tmp_path / "form", artifact, signer, tiny_base, "gguf-q4_k_m")
    assert caught.value.code == "form_rounded_away"
    assert list(tmp_path.iterdir()) == []


def test_the_mixture_of_four_bits_is_llama_cpp_s_own() -> None:
    """https://github.com/ggml-org/llama.cpp: a 16-block model's files name these types."""

    def chosen(name: str, columns: int = 512, block: int = 0) -> str:
        ends = name in ("output.weight", "token_embd.weight")
        return type_of("gguf-q4_k_m", Tensor(name, (8, columns), 16, block, ends)).name

    six = [block for block in range(16) if chosen("blk.0.attn_v.weight", block=block) == "Q6_K"]
    assert six == [0, 1, 4, 7, 10, 13, 14, 15]
    assert chosen("blk.0.ffn_down.weight") == "Q6_K"
    assert chosen("blk.0.attn_q.weight") == "Q4_K"
    assert chosen("output.weight") == "Q6_K"
    assert (chosen("blk.0.attn_q.weight", 96), chosen("blk.0.attn_v.weight", 96)) == (
        "Q5_0",
        "Q8_0",
    )
    assert chosen("blk.0.attn_q.weight", 40) == "F16"


@pytest.mark.parametrize("name", ["plain", "default_system", "thinking"])
def test_ollama_s_template_lays_conversations_out_as_the_model_s(name: Any) -> None:
    encoder = RowEncoder(build_tokenizer(name))
    turns = turns_of(encoder)
    assert turns is not None
    stops = ["<|im_end|>", 'a"b']
    text = modelfile(encoder, file="m.gguf", stops=stops, context=512, starts=False)
    assert text.startswith('FROM ./m.gguf\nTEMPLATE """')
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert 'PARAMETER stop """a"b"""' in text, "Ollama reads no escapes"
    talk: list[Any] = [{"role": "user", "content": "is it on?"}]
    assert turns.laid_out(talk) == encoder.prompt_text(talk)
    assert ("You are a tiny model." in text) == (name == "default_system")


def test_a_template_that_does_more_than_to_mark_turns_is_not_guessed_at() -> None:
    encoder = RowEncoder(build_tokenizer("underivable"))
    assert turns_of(encoder) is None
    stops = ["<|im_end|>", 'a"b']
    text = modelfile(encoder, file="m.gguf", stops=stops, context=512, starts=False)
    assert "TEMPLATE" not in text
    assert "raw" in text


def test_what_looks_like_a_control_token_is_one_whatever_its_tokenizer_says() -> None:
    added = [
        {"id": 1, "content": "<|fim_pad|>", "special": False},
        {"id": 2, "content": "<tool_call>", "special": False},
        {"id": 3, "content": "<s>", "special": True},
    ]
    names, kinds = _tokens({"model": {"vocab": {"a": 0}}, "added_tokens": added}, 5)
    assert names == ["a", "<|fim_pad|>", "<tool_call>", "<s>", "[PAD4]"]
    control, own = int(TokenType.CONTROL), int(TokenType.USER_DEFINED)
    assert kinds == [int(TokenType.NORMAL), control, own, control, int(TokenType.UNUSED)]
