"""What cannot be trained is refused with its reason before anything is loaded, and an adapter never
ends up on layers that nobody asked for."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen3_5TextConfig

from faults import OurFault, UserFault
from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.architectures import ARCHITECTURES, REFUSED, native_architecture
from finetune.families.causal_lm.layout import Row
from finetune.families.contract import AdapterSpec, Precision
from finetune.packaging.base import import_base
from tests.finetune.families.bases import BASES
from tests.finetune.trainer.runs import chat_rows, encoded
from tests.tiny import build_tokenizer


def refusal(**config: Any) -> UserFault:
    with pytest.raises(UserFault) as caught:
        native_architecture(config, "config.json")
    return caught.value


@pytest.mark.parametrize("model_type", REFUSED)
def test_an_architecture_that_cannot_be_trained_is_refused_with_its_reason(model_type: str) -> None:
    fault = refusal(architectures=["SomeForCausalLM"], model_type=model_type)
    assert fault.code == "architecture_unsupported"
    assert REFUSED[model_type] in fault.message
    assert fault.fix
    assert model_type not in ARCHITECTURES.values()


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("Gemma3ForCausalLM", {"use_bidirectional_attention": True}, "looks ahead"),
        ("Qwen3ForCausalLM", {"layer_types": ["full_attention", "conv"]}, "'conv'"),
        (
            "Gemma3ForConditionalGeneration",
            {"text_config": {"model_type": "gemma3_text", "use_bidirectional_attention": True}},
            "looks ahead",
        ),
        (
            "Mistral3ForConditionalGeneration",
            {"text_config": {"model_type": "mistral4"}},
            "'mistral4'",
        ),
    ],
)
def test_a_known_name_with_something_else_within_is_refused(
    name: str, changes: dict[str, Any], said: str
) -> None:
    config = {"architectures": [name], "model_type": ARCHITECTURES[name]}
    assert native_architecture(config, "config.json") == name
    fault = refusal(**config, **changes)
    assert fault.code == "architecture_unsupported"
    assert said in fault.message


def test_gpt_oss_as_it_is_published_is_refused_as_quantised(tmp_path: Path) -> None:
    source = BASES["gpt-oss in bfloat16"].write(tmp_path / "source")
    config = (source / "config.json").read_text()
    told = '{"quantization_config": {"quant_method": "mxfp4"}, '
    (source / "config.json").write_text(told + config.lstrip()[1:])
    with pytest.raises(UserFault, match="mxfp4") as caught:
        import_base(source, tmp_path / "store", name="a", licence="MIT", source_label="test")
    assert caught.value.code == "weights_dtype"
    assert "bfloat16 copy" in (caught.value.fix or "")
    assert not list((tmp_path / "store").iterdir())


def test_an_expert_that_is_missing_is_found_at_the_import(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = BASES["Qwen3-MoE"].write(tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.1.mlp.experts.2.up_proj.weight"]
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserFault, match="experts") as caught:
        import_base(source, tmp_path / "store", name="a", licence="MIT", source_label="test")
    assert caught.value.code == "weights_mismatch"


def test_rows_take_no_more_tokens_than_the_first_range_of_longrope(tmp_path: Path) -> None:
    source = BASES["Phi-4-mini"].write(tmp_path / "source")
    info = import_base(source, tmp_path, name="a", licence="MIT", source_label="test")
    assert info.context_length == 128


@pytest.mark.parametrize("name", ["Qwen3-MoE", "Mixtral", "gpt-oss in bfloat16"])
@pytest.mark.parametrize("target", ["gate_proj", "down_proj", "gate", "experts", "lm_head"])
def test_experts_and_routers_are_refused_by_name(name: str, target: str, tmp_path: Path) -> None:
    base = BASES[name].write(tmp_path)
    spec = AdapterSpec(targets=("q_proj", target))
    with pytest.raises(UserFault, match=f"'{target}' is not offered") as caught:
        adapted.load(base, spec, precision="fp32", device="cpu", seed=0)
    assert caught.value.code == "bad_adapter"
    assert "q_proj" in caught.value.message


def test_the_image_tower_gets_no_adapter_though_its_layers_have_the_same_names(
    tmp_path: Path,
) -> None:
    base = BASES["Gemma 3"].write(tmp_path)
    spec = AdapterSpec(targets=("q_proj", "layers.1.mlp.up_proj"))
    model = adapted.load(base, spec, precision="fp32", device="cpu", seed=0)
    assert sorted(model.trained.adapter.layers) == [
        "model.language_model.layers.0.self_attn.q_proj",
        "model.language_model.layers.1.mlp.up_proj",
        "model.language_model.layers.1.self_attn.q_proj",
    ]


def gate(base: Path, precision: Precision) -> None:
    model = adapted.load(base, AdapterSpec(r=4), precision=precision, device="cpu", seed=0)
    model.check_faithful(encoded(base, chat_rows(2)))


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
@pytest.mark.parametrize("name", ["Qwen3-MoE", "gpt-oss in bfloat16"])
def test_rounding_between_experts_is_no_fault(
    name: str, precision: Precision, tmp_path: Path
) -> None:
    gate(BASES[name].write(tmp_path), precision)


def test_rows_that_begin_alike_do_not_hide_that_a_model_mixes_rows(tmp_path: Path) -> None:
    """Qwen3.5's gated delta nets, were they not refused before."""
    tokenizer = build_tokenizer()
    config = Qwen3_5TextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        layer_types=["linear_attention", "full_attention"],
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        initializer_range=0.2,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model = adapted.load(tmp_path, AdapterSpec(r=4), precision="fp32", device="cpu", seed=0)
    row = Row(torch.arange(3, 40).tolist(), [True] * 37)
    with pytest.raises(OurFault) as caught:
        model.check_faithful([row, row])
    assert caught.value.code == "unfaithful_architecture"
