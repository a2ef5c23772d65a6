"""Bases that rank give the scores that sentence-transformers' CrossEncoder gives, alone and beside
other pairs, from where it was saved and from the store; what they would do otherwise is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import UserFault
from finetune.families import context_length, family
from finetune.families.layers import foreign_tensors, linear_layers
from finetune.families.reranking.ranker import load_ranker
from finetune.packaging.base import import_base
from finetune.records.ranking import Pair, Ranking, read_ranking
from finetune.records.texts import PairEncoder
from tests.embedders import build_embedder
from tests.rerankers import KINDS, build_reranker

sentence_transformers = pytest.importorskip("sentence_transformers")

PAIRS = [
    ("turn on the light in the kitchen", "the kitchen has a light"),
    ("开灯", "客厅"),
    ("set the temperature", ""),
    ("switch off the fan", "the fan of the living room is off " * 12),  # is cut
    ("which lamp is on in the hall of the house " * 9, "the hall has a lamp " * 2),  # its query is
]


def ours(folder: Path) -> torch.Tensor:
    ranker = load_ranker(folder, precision="fp32", device="cpu")
    encoder = PairEncoder(folder)
    pairs = []
    for query, document in PAIRS:
        ids, labels, _ = encoder.measured(query, document)
        pairs.append(Pair(ids, labels.index(True)))
    return ranker.embed(pairs, [None] * len(pairs)).squeeze(1).clone()


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_sentence_transformers(kind: str, tmp_path: Path) -> None:
    source = build_reranker(
        tmp_path / kind,
        kind,
        identity=kind == "roberta",
        spread=2 if kind == "modernbert" else 8,
    )
    model = sentence_transformers.CrossEncoder(str(source), device="cpu")
    expected = torch.tensor(model.predict(PAIRS))
    found = ours(source)
    assert float((found - expected).abs().max()) < 1e-5
    assert float(expected.max() - expected.min()) > 1e-3  # or anything would be equal
    info = import_base(source, tmp_path / "store", name="r", licence="MIT", source_label="x")
    stored = tmp_path / "store" / info.path
    assert (info.family, info.context_length, info.chat_template) == ("reranking", 64, False)
    assert read_ranking(stored) == read_ranking(source)
    assert read_ranking(stored) == Ranking(
        max_length=64, segments=kind == "bert", sigmoid=kind != "roberta"
    )
    assert context_length(stored) == 64
    assert torch.equal(ours(stored), found)
    layers = [layer.name for layer in linear_layers(stored)]
    assert any("classifier" in name for name in layers)
    assert foreign_tensors([f"base_model.model.{n}.lora_A.weight" for n in layers], stored) == []


def test_its_segments_matter(tmp_path: Path) -> None:
    """Or equality would hold without them."""
    source = build_reranker(tmp_path / "base")
    found = ours(source)
    ranking = read_ranking(source).model_copy(update={"segments": False})
    (source / "ranking.json").write_text(ranking.model_dump_json())
    assert float((ours(source) - found).abs().max()) > 1e-4


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("config.json", {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}),
        ("config.json", {"sentence_transformers": {"activation_fn": "torch.nn.Softplus"}}),
        ("config_sentence_transformers.json", {"default_prompt_name": "query"}),
        ("modules.json", [{"type": "a.Transformer"}, {"type": "a.Dense"}]),
        ("modules.json", ["x"]),
        ("modules.json", {}),
    ],
)
def test_what_is_not_done_here_is_refused(name: str, change: Any, tmp_path: Path) -> None:
    base = build_reranker(tmp_path / "base")
    path = base / name
    told = json.loads(path.read_bytes()) if path.is_file() else {}
    path.write_text(json.dumps(told | change if isinstance(change, dict) and told else change))
    with pytest.raises(UserFault) as fault:
        import_base(base, tmp_path / "store", name="r", licence="MIT", source_label="x")
    assert fault.value.code == "ranking_unsupported"
    assert not list((tmp_path / "store").iterdir())


def test_a_head_that_is_not_in_the_weights_is_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base = build_reranker(tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserFault, match=r"classifier\.weight") as fault:
        import_base(base, tmp_path / "store", name="r", licence="MIT", source_label="x")
    assert fault.value.code == "weights_mismatch"


@pytest.mark.parametrize("kind", ["mean", "masked"])
def test_an_encoder_gets_a_head_with_which_it_ranks_as_in_sentence_transformers(
    kind: str, tmp_path: Path
) -> None:
    from safetensors.torch import load_file
    from transformers import AutoModelForMaskedLM

    source = build_embedder(tmp_path / "source")
    if kind == "masked":  # as publishers of bare encoders save them: without a pooler
        AutoModelForMaskedLM.from_pretrained(source).save_pretrained(source)
        for name in ("modules.json", "config_sentence_transformers.json"):
            (source / name).unlink(missing_ok=True)
    stored = []
    for name in ("one", "other"):
        info = import_base(
            source, tmp_path / name, name="r", licence="MIT", source_label="x", head=True
        )
        stored.append(tmp_path / name / info.path)
    assert stored[0].name == stored[1].name, "the same bytes each time"
    assert info.family == "reranking"
    model = sentence_transformers.CrossEncoder(str(stored[0]), device="cpu")
    expected = torch.tensor(model.predict(PAIRS))
    assert float((ours(stored[0]) - expected).abs().max()) < 1e-5
    body, made = (load_file(each / "model.safetensors") for each in (source, stored[0]))
    named = {name.removeprefix("bert."): weight for name, weight in body.items()}
    kept = [name for name in made if name.removeprefix("bert.") in named]
    assert len(kept) > 30
    for name in kept:
        assert torch.equal(made[name], named[name.removeprefix("bert.")]), name
    with pytest.raises(UserFault) as fault:
        import_base(stored[0], tmp_path / "s", name="r", licence="M", source_label="x", head=True)
    assert (fault.value.code, fault.value.param) == ("unknown_architecture", "head")


def test_another_architecture_is_told_which_there_are() -> None:
    told = {"architectures": ["T5ForSequenceClassification"], "model_type": "t5"}
    with pytest.raises(UserFault, match="T5") as fault:
        family("reranking").architecture(told, "config.json")
    assert fault.value.code == "unknown_architecture"
