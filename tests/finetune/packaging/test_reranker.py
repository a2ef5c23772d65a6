"""The artifact of a tuned base that ranks: CrossEncoder loads it in a clean process and gives the
scores of training; none of the base's weights are in it."""

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors.torch import load_file

from finetune.families import family
from finetune.packaging.base import import_base
from finetune.packaging.bundle import build
from finetune.packaging.passport import BaseUsed, Passport
from finetune.packaging.signing import Signer
from finetune.packaging.verify import verify
from finetune.records.ranking import Pair
from finetune.records.texts import PairEncoder
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from privatune.alone.callers import Callers
from privatune.alone.clock import HighWater
from privatune.alone.door import Door
from privatune.alone.engine import running
from privatune.alone.opened import Opened, opened
from tests.finetune.trainer.test_rerank import run_folder
from tests.rerankers import build_reranker

CLEAN = """
import json, sys
from sentence_transformers import CrossEncoder

model = CrossEncoder("reranker", device="cpu")
print(json.dumps(model.predict(json.loads(sys.argv[1])).tolist()))
"""
PAIRS = [("turn on the fan", "the hall has a fan"), ("开灯", "客厅 " * 80), ("set it", "no")]


async def asked_alone(model: Opened, folder: Path) -> list[float]:
    """What `privatune serve` answers of the pairs, each asked by itself at another address."""
    folder.mkdir()
    clock = HighWater(folder / "clock", least=model.signed_at)
    scores = []
    async with running(model, folder / "socket", precision="fp32", threads=1) as engine:
        door: Any = Door(engine, clock, Callers(None, {"testserver"}))
        transport = httpx.ASGITransport(door)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as http:
            asked = zip(("/v1/rerank", "/v2/rerank", "/rerank"), PAIRS, strict=True)
            for path, (query, document) in asked:
                body = {"model": model.name, "query": query, "documents": [document]}
                answer = await http.post(path, json=body)
                assert answer.status_code == 200, answer.text
                scores.append(answer.json()["results"][0]["relevance_score"])
            for path, status in (("/v1/embeddings", 404), ("/v1/rerank", 400)):
                assert (await http.post(path, json={"model": model.name})).status_code == status
    return scores


def test_a_clean_process_gives_the_same_scores(tmp_path: Path, signer: Signer) -> None:
    source = build_reranker(tmp_path / "source")
    info = import_base(source, tmp_path / "store", name="b", licence="MIT", source_label="x")
    base = tmp_path / "base"
    base.symlink_to(tmp_path / "store" / info.path)
    run = run_folder(tmp_path / "run")
    train(run, Stop())
    used = BaseUsed(
        name="b",
        digest=info.digest,
        licence="MIT",
        architecture=info.architecture,
        parameters=info.parameters,
    )
    passport = Passport(
        name="ft:b:t::1",
        tenant="t",
        created=datetime.now(UTC),
        code_version="0",
        base=used,
        datasets=[],
        family="reranking",
        method="rerank",
        hyperparameters={},
        seed=0,
        precision="fp32",
        steps=6,
        epochs=2,
    )
    artifact = tmp_path / "artifact"
    build(
        artifact,
        adapter_dir=run / "result",
        passport=passport,
        license_terms={"granted": {"valid_from": "2026-01-01T00:00:00Z", "valid_until": None}},
        signer=signer,
        base_dir=base,
    )
    verify(artifact, signer.public_pem)
    told = json.loads((artifact / "passport.json").read_bytes())
    assert told["ranking"] == {"max_length": 64, "segments": True, "sigmoid": True}
    assert told["parity"]["adapter"]["max_abs_diff"] < 1e-4 < told["parity"]["adapter"]["moved"]
    assert "text-ranking" in (artifact / "model-card.md").read_text()
    model = opened(
        artifact, base=base, store=tmp_path / "none", key=signer.public_pem, fingerprint=None
    )
    served = asyncio.run(asked_alone(model, tmp_path / "alone"))
    own = load_file(run / "result" / "adapter_model.safetensors").keys()
    for path in artifact.rglob("*.safetensors"):  # none of the base's weights leave with it
        assert load_file(path).keys() == own
    done = subprocess.run(
        [sys.executable, "-c", CLEAN, json.dumps(PAIRS)],
        cwd=artifact,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = torch.tensor(json.loads(done.stdout.splitlines()[-1]))
    ranker: Any = family("reranking").resident(base, precision="fp32", device="cpu")
    adapter = ranker.read_adapter(
        (artifact / "adapter" / "adapter_model.safetensors").read_bytes(),
        json.loads((artifact / "adapter" / "adapter_config.json").read_bytes()),
    )
    measured = [PairEncoder(base).measured(*pair) for pair in PAIRS]
    pairs = [Pair(ids, labels.index(True)) for ids, labels, _ in measured]
    expected = ranker.embed(pairs, [adapter] * 3)[:, 0]
    assert float((found - expected).abs().max()) < 1e-5
    assert float((torch.tensor(served) - expected).abs().max()) < 1e-5
    assert float((ranker.embed(pairs, [None] * 3)[:, 0] - expected).abs().max()) > 1e-4
