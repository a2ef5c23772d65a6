"""A safetensors folder becomes a base that loads plainly, and is named by its bytes."""

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
)

from faults import OurFault, UserFault
from finetune.packaging.base import BaseModelInfo, check_base, import_base, read_base
from tests.tiny import SENTENCES, build_tiny_base

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}


def bring(source: Path, store: Path, **changes) -> BaseModelInfo:
    settings = {"name": "tiny", "licence": "Apache-2.0", "source_label": "test"} | changes
    return import_base(source, store, **settings)


@pytest.fixture
def source(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "source"))


def test_an_imported_base_gives_the_same_logits_and_text_as_its_source(source, tmp_path):
    info = bring(source, tmp_path / "store")
    stored = tmp_path / "store" / info.path
    ids = torch.tensor([[5, 17, 80, 3]])
    expected = AutoModelForCausalLM.from_pretrained(source)(ids).logits
    assert torch.equal(AutoModelForCausalLM.from_pretrained(stored)(ids).logits, expected)
    ours, theirs = (AutoTokenizer.from_pretrained(folder) for folder in (stored, source))
    chat = [{"role": "user", "content": "turn on the light"}]
    assert ours.apply_chat_template(chat) == theirs.apply_chat_template(chat)


def test_the_facts_of_a_base_are_recorded(source, tmp_path):
    info = bring(source, tmp_path / "store", licence="CC-BY-4.0")
    assert info.architecture == "LlamaForCausalLM"
    assert (info.context_length, info.dtype, info.tied_head) == (512, "float32", True)
    model = AutoModelForCausalLM.from_pretrained(source)
    assert info.parameters == sum(p.numel() for p in model.parameters())
    assert info.licence == "CC-BY-4.0"
    assert info.digest == f"sha256:{info.path}"
    assert read_base(tmp_path / "store" / info.path) == info


def test_the_same_bytes_have_one_digest_and_one_place(source, tmp_path):
    first = bring(source, tmp_path / "store")
    again = bring(source, tmp_path / "store", name="renamed")
    assert again.digest == first.digest
    assert read_base(tmp_path / "store" / first.path).name == "renamed"
    assert [path.name for path in (tmp_path / "store").iterdir()] == [first.path]


def test_other_weights_have_another_digest(source, tmp_path):
    other = build_tiny_base(tmp_path / "other", seed=1)
    store = tmp_path / "store"
    assert bring(source, store).digest != bring(other, store).digest


def test_only_known_files_are_stored(source, tmp_path):
    (source / "pytorch_model.bin").write_bytes(b"pickle")
    (source / "modeling_evil.py").write_text("raise SystemExit")
    (source / "holiday.jpg").write_bytes(b"jpg")
    (source / "LICENSE").write_text("Apache License 2.0")
    info = bring(source, tmp_path / "store")
    stored = {path.name for path in (tmp_path / "store" / info.path).iterdir()}
    assert stored == {*info.files, "base.json"}
    assert "LICENSE" in stored
    assert not {"pytorch_model.bin", "modeling_evil.py", "holiday.jpg"} & stored
    assert any("pytorch_model.bin" in notice for notice in info.notices)
    assert any("modeling_evil.py" in notice for notice in info.notices)


def test_keys_that_name_code_are_dropped_where_the_architecture_is_native(source, tmp_path):
    for name in ("config.json", "tokenizer_config.json"):
        value = json.loads((source / name).read_text())
        value["auto_map"] = {"AutoModelForCausalLM": "evil.Model"}
        value["_attn_implementation"] = "someone/kernel"
        (source / name).write_text(json.dumps(value))
    info = bring(source, tmp_path / "store")
    for name in ("config.json", "tokenizer_config.json"):
        text = (tmp_path / "store" / info.path / name).read_text()
        assert "auto_map" not in text
        assert "someone/kernel" not in text
    assert any("auto_map" in notice for notice in info.notices)


def test_a_sharded_model_is_imported_whole(source, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(source)
    (source / "model.safetensors").unlink()
    model.save_pretrained(source, max_shard_size="40KB")
    shards = sorted(source.glob("model-*.safetensors"))
    assert len(shards) > 1
    info = bring(source, tmp_path / "store")
    assert {shard.name for shard in shards} < set(info.files)
    stored = AutoModelForCausalLM.from_pretrained(tmp_path / "store" / info.path)
    ids = torch.tensor([[5, 17]])
    assert torch.equal(stored(ids).logits, model(ids).logits)


def test_rules_of_tokenizer_json_win_over_a_class_that_would_change_them(source, tmp_path):
    path = source / "tokenizer.json"
    core = json.loads(path.read_text())
    digits = {"type": "Digits", "individual_digits": True}
    core["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [digits, core["pre_tokenizer"]]}
    path.write_text(json.dumps(core))
    config = json.loads((source / "tokenizer_config.json").read_text())
    config["tokenizer_class"] = "GPT2Tokenizer"
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    info = bring(source, tmp_path / "store")
    loaded = AutoTokenizer.from_pretrained(tmp_path / "store" / info.path)
    assert json.loads(loaded.backend_tokenizer.to_str())["pre_tokenizer"] == core["pre_tokenizer"]
    assert any("GPT2Tokenizer" in notice for notice in info.notices)


def test_progress_is_told_to_the_last_byte(source, tmp_path):
    told: list[tuple[str, int, int]] = []
    info = bring(source, tmp_path / "store", progress=lambda *step: told.append(step))
    copied = [done for phase, done, _ in told if phase == "copy"]
    assert copied == sorted(copied)
    assert told[-1] == ("check", info.bytes, info.bytes)


def test_a_cache_snapshot_of_the_hub_may_link_to_its_blobs(source, tmp_path):
    blobs = tmp_path / "models--a--b" / "blobs"
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123abc"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for path in list(source.iterdir()):
        path.rename(blobs / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    info = bring(snapshot, tmp_path / "store")
    assert not any(path.is_symlink() for path in (tmp_path / "store" / info.path).iterdir())


def test_a_changed_byte_in_the_store_is_found(source, tmp_path):
    info = bring(source, tmp_path / "store")
    weights = tmp_path / "store" / info.path / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(OurFault, match=r"model\.safetensors") as fault:
        check_base(tmp_path / "store" / info.path)
    assert fault.value.code == "base_damaged"


def test_importing_again_mends_a_store_folder_that_lost_a_file(source, tmp_path):
    info = bring(source, tmp_path / "store")
    (tmp_path / "store" / info.path / "tokenizer.json").unlink()
    bring(source, tmp_path / "store")
    assert check_base(tmp_path / "store" / info.path).digest == info.digest


def test_a_sentencepiece_tokenizer_keeps_its_tokens(source, tmp_path):
    (tmp_path / "text").write_text("\n".join(SENTENCES * 20))
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "text"),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=318,
        model_type="bpe",
        byte_fallback=True,
        character_coverage=1.0,
        minloglevel=2,
    )
    (tmp_path / "tokenizer.model").rename(source / "tokenizer.model")
    (source / "tokenizer.json").unlink()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "LlamaTokenizer", **special}
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    info = bring(source, tmp_path / "store")
    ours = AutoTokenizer.from_pretrained(tmp_path / "store" / info.path)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(source / "tokenizer.model"))
    for text in ("turn on the light", "set 21 开灯 é"):
        assert ours(text, add_special_tokens=False).input_ids == theirs.encode(text)


def test_whose_holes_a_base_knows_is_named_where_its_tokenizer_does_not_tell(
    tmp_path: Path,
) -> None:
    names = ["<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<filename>"]
    source = build_tiny_base(tmp_path / "source", control=names)
    of = {"name": "m", "licence": "MIT", "source_label": "x"}
    found = import_base(source, tmp_path / "found", **of)
    named = import_base(source, tmp_path / "named", **of, infilling="mellum")
    assert (found.infilling, named.infilling) == ("starcoder", "mellum")
    assert found.digest != named.digest, "it reads a hole in another way"
    with pytest.raises(UserFault) as caught:
        import_base(source, tmp_path / "none", **of, infilling="qwen")
    assert (caught.value.code, caught.value.param) == ("cannot_infill", "infilling")
    assert not list((tmp_path / "none").iterdir())
