"""What may not become a base is refused with a stable code, says why, and leaves no trace."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from faults import OurFault, UserFault
from finetune.packaging.base import import_base
from tests.tiny import build_tiny_base

WEIGHTS = "model.safetensors"


def edit(path: Path, **changes) -> None:
    value = json.loads(path.read_text())
    value.update(changes)
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def retensor(source: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = load_file(source / WEIGHTS)
    change(tensors)
    save_file(tensors, source / WEIGHTS)


def pickled(source: Path) -> None:
    (source / WEIGHTS).rename(source / "pytorch_model.bin")


def remote_code(source: Path) -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_other.Other"}
    edit(source / "config.json", architectures=["Other"], model_type="other", auto_map=auto_map)


def shard_missing(source: Path) -> None:
    (source / WEIGHTS).rename(source / "model-00001-of-00002.safetensors")
    mapping = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (source / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": mapping}))


def index_leads_out(source: Path) -> None:
    (source / WEIGHTS).unlink()
    mapping = {"a": "../../secret.safetensors"}
    (source / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": mapping}))


def broken_header(source: Path) -> None:
    data = bytearray((source / WEIGHTS).read_bytes())
    data[8:12] = b"@@@@"
    (source / WEIGHTS).write_bytes(data)


def endless_header(source: Path) -> None:
    data = (source / WEIGHTS).read_bytes()
    (source / WEIGHTS).write_bytes(struct.pack("<Q", 1 << 62) + data[8:])


def cut_off(source: Path) -> None:
    data = (source / WEIGHTS).read_bytes()
    (source / WEIGHTS).write_bytes(data[:-100])


def not_a_number(source: Path) -> None:
    def poison(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"][3] = float("nan")

    retensor(source, poison)


def a_layer_missing(source: Path) -> None:
    retensor(source, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))


def wrong_shape(source: Path) -> None:
    edit(source / "config.json", intermediate_size=65)


def eight_bit(source: Path) -> None:
    def squeeze(tensors: dict[str, torch.Tensor]) -> None:
        tensors["model.norm.weight"] = tensors["model.norm.weight"].to(torch.int8)

    retensor(source, squeeze)


def untied_without_head(source: Path) -> None:
    edit(source / "config.json", tie_word_embeddings=False)


def link_outside(source: Path) -> None:
    secret = source.parent / "secret.json"
    (source / "tokenizer.json").rename(secret)
    (source / "tokenizer.json").symlink_to(secret)


def emptied(source: Path) -> None:
    shutil.rmtree(source)
    source.mkdir()


def adapter_only(source: Path) -> None:
    (source / WEIGHTS).rename(source / "adapter_model.safetensors")
    (source / "adapter_config.json").write_text("{}")


def no_template(source: Path) -> None:
    (source / "chat_template.jinja").unlink()


def broken_template(source: Path) -> None:
    (source / "chat_template.jinja").write_text("{% for m in messages %}")


def deaf_template(source: Path) -> None:
    (source / "chat_template.jinja").write_text("hello")


def template_that_breaks_out(source: Path) -> None:
    (source / "chat_template.jinja").write_text(
        "{{ messages.__class__.__mro__[1].__subclasses__() }}"
    )


def broken_tokenizer(source: Path) -> None:
    (source / "tokenizer.json").write_text("{}")


def epsilon(value: float, source: Path) -> None:
    edit(source / "config.json", rms_norm_eps=value)


REFUSALS = {
    "pickle_weights": [pickled],
    "remote_code_required": [remote_code],
    "unknown_architecture": [lambda s: edit(s / "config.json", architectures=["GPT2LMHeadModel"])],
    "no_tokenizer": [lambda s: (s / "tokenizer.json").unlink()],
    "no_chat_template": [no_template],
    "chat_template_broken": [broken_template, deaf_template, template_that_breaks_out],
    "shard_missing": [shard_missing],
    "weights_corrupt": [broken_header, endless_header, cut_off, index_leads_out],
    "weights_not_finite": [not_a_number],
    "weights_mismatch": [a_layer_missing, wrong_shape, untied_without_head],
    "weights_dtype": [
        eight_bit,
        lambda s: edit(s / "config.json", quantization_config={"quant_method": "gptq"}),
    ],
    "link_outside": [link_outside],
    "empty_folder": [emptied],
    "no_config": [lambda s: (s / "config.json").unlink()],
    "bad_config": [
        lambda s: (s / "config.json").write_text("{"),
        *(partial(epsilon, value) for value in (float("nan"), float("inf"), -1.0, 7)),
    ],
    "no_weights": [lambda s: (s / WEIGHTS).unlink()],
    "not_a_base": [adapter_only],
    "vocabulary_too_small": [lambda s: edit(s / "config.json", vocab_size=300)],
    "no_eos_token": [lambda s: edit(s / "tokenizer_config.json", eos_token=None)],
    "tokenizer_unreadable": [broken_tokenizer],
}
CASES = [(code, spoil) for code, spoilers in REFUSALS.items() for spoil in spoilers]


@pytest.mark.parametrize(("code", "spoil"), CASES)
def test_a_folder_is_refused_with_its_code_and_nothing_is_stored(code, spoil, tiny_base, tmp_path):
    source = Path(shutil.copytree(tiny_base, tmp_path / "source"))
    spoil(source)
    with pytest.raises(UserFault) as fault:
        import_base(
            source, tmp_path / "store", name="tiny", licence="Apache-2.0", source_label="test"
        )
    assert fault.value.code == code
    assert fault.value.fix
    assert not os.listdir(tmp_path / "store")


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("bad_name", {"name": "org/model"}),
        ("bad_name", {"name": "ft:model"}),
        ("no_licence", {"licence": " "}),
        ("source_missing", {"source": Path("/nowhere/at/all")}),
        ("source_kind", {"source": Path(__file__)}),
    ],
)
def test_a_request_that_names_nothing_usable_is_refused(code, changes, tiny_base, tmp_path):
    request = {"source": tiny_base, "name": "tiny", "licence": "MIT", "source_label": "t"} | changes
    with pytest.raises(UserFault) as fault:
        import_base(store=tmp_path / "store", **request)
    assert fault.value.code == code


def test_a_template_given_by_hand_serves_a_base_without_one(tmp_path):
    source = build_tiny_base(tmp_path / "source", template="none")
    template = tmp_path / "chatml.jinja"
    template.write_text("{% for m in messages %}<|im_start|>{{ m['content'] }}{% endfor %}")
    info = import_base(
        source,
        tmp_path / "store",
        name="tiny",
        licence="MIT",
        source_label="t",
        chat_template=template,
    )
    stored = tmp_path / "store" / info.path / "chat_template.jinja"
    assert stored.read_text() == template.read_text()


def test_a_store_without_room_is_our_fault_and_keeps_nothing(tiny_base, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(OurFault) as fault:
        import_base(tiny_base, tmp_path / "store", name="tiny", licence="MIT", source_label="t")
    assert fault.value.code == "store_full"
    assert not os.listdir(tmp_path / "store")
