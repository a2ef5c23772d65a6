"""The artifact of a tuned base that embeds: sentence-transformers loads it in a clean process and
makes the vectors of training; none of the base's weights are in it."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from faults import OurFault
from finetune.families import family
from finetune.packaging.base import import_base
from finetune.packaging.bundle import build
from finetune.packaging.passport import BaseUsed, Passport
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from finetune.records.texts import TextEncoder
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.spec import RunSpec
from tests.embedders import build_embedder
from tests.finetune.trainer.runs import write_jsonl
from tests.finetune.trainer.test_vectors import RETRIEVALS, spec_of

TEXTS = ["turn on the light", "switch off the fan in the living room please " * 6, "客厅"]

CLEAN = """
import json, sys, torch
from sentence_transformers import SentenceTransformer

texts = json.loads(sys.argv[1])
model = SentenceTransformer("embedder", device="cpu")
found = {"text": model.encode(texts), "query": model.encode_query(texts)}
print(json.dumps({name: each.tolist() for name, each in found.items()}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, signer: Signer) -> dict[str, Path]:
    """(a base in the store, a run that trained on it, its artifact with the base beside)"""
    root = tmp_path_factory.mktemp("embedder")
    source = build_embedder(root / "source", prompts={"query": "ask: ", "document": "say: "})
    info = import_base(source, root / "store", name="b", licence="MIT", source_label="x")
    base, run = root / "store" / info.path, root / "run"
    (run / "data").mkdir(parents=True)
    (run / "base").symlink_to(base)
    write_jsonl(run / "data" / "train.jsonl", RETRIEVALS[:16])
    spec: RunSpec = spec_of("contrastive", epochs=2, micro_batch_tokens=2048, threads=1)
    spec.write(run)
    train(run, Stop())
    passport = Passport(
        name="ft:b:t::1",
        tenant="t",
        created=datetime.now(UTC),
        code_version="0",
        base=BaseUsed(
            name="b",
            digest=info.digest,
            licence="MIT",
            architecture=info.architecture,
            parameters=info.parameters,
        ),
        datasets=[],
        family="embedding",
        method="contrastive",
        hyperparameters={},
        seed=0,
        precision="fp32",
        steps=4,
        epochs=2,
    )
    (root / "out").mkdir()
    build(
        root / "out" / "artifact",
        adapter_dir=run / "result",
        passport=passport,
        license_terms={},
        signer=signer,
        base_dir=base,
    )
    (root / "out" / "base").symlink_to(base)
    return {"base": base, "run": run, "artifact": root / "out" / "artifact"}


def test_a_clean_process_makes_the_same_vectors(made: dict[str, Path]) -> None:
    pytest.importorskip("sentence_transformers")
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, json.dumps(TEXTS)],
        cwd=made["artifact"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    embedder = family("embedding").resident(made["base"], precision="fp32", device="cpu")
    adapter = embedder.read_adapter(
        (made["artifact"] / "adapter" / "adapter_model.safetensors").read_bytes(),
        json.loads((made["artifact"] / "adapter" / "adapter_config.json").read_bytes()),
    )
    encoder = TextEncoder(made["base"])
    for side in ("text", "query"):
        ids = [encoder.encode(text, side) for text in TEXTS]
        expected = embedder.embed(ids, [adapter] * 3)  # type: ignore[union-attr]
        plain = embedder.embed(ids, [None] * 3)  # type: ignore[union-attr]
        assert float((torch.tensor(found[side]) - expected).abs().max()) < 1e-5
        assert float((plain - expected).abs().max()) > 1e-4


def test_the_passport_says_how_a_text_becomes_a_vector(made: dict[str, Path]) -> None:
    told = json.loads((made["artifact"] / "passport.json").read_bytes())
    assert told["family"] == "embedding"
    assert told["recipe"] == {
        "pooling": "mean",
        "normalize": True,
        "max_length": 64,
        "prompts": {"query": "ask: ", "document": "say: "},
        "default_prompt": None,
    }
    assert told["parity"]["adapter"]["max_abs_diff"] < 1e-4 < told["parity"]["adapter"]["moved"]
    card = (made["artifact"] / "model-card.md").read_text()
    assert "sentence-similarity" in card
    assert "pooling mean" in card


def test_none_of_the_base_leaves_with_it(made: dict[str, Path], signer: Signer) -> None:
    own = load_file(made["run"] / "result" / "adapter_model.safetensors").keys()
    for path in made["artifact"].rglob("*.safetensors"):
        assert load_file(path).keys() == own
    verify(made["artifact"], signer.public_pem)


def test_another_adapter_than_was_trained_is_found_out(
    made: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    from finetune.packaging.parity import compare_adapters

    packed = tmp_path / "packed"
    packed.mkdir()
    result = made["run"] / "result"
    weights = load_file(result / "adapter_model.safetensors")
    name = next(each for each in weights if "lora_B" in each)
    shift = torch.sin(torch.arange(weights[name].numel())).view_as(weights[name])
    weights[name] = weights[name] + 0.05 * shift  # a constant one a norm would take away
    save_file(weights, packed / "adapter_model.safetensors")
    (packed / "adapter_config.json").write_bytes((result / "adapter_config.json").read_bytes())
    with pytest.raises(OurFault) as fault:
        compare_adapters("embedding", made["base"], result, packed, "fp32")
    assert fault.value.code == "parity_failed"
