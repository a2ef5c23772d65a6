"""`privatune serve` of a model that makes vectors, over HTTPS."""

import asyncio
import json
import os
import signal
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import openai
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from faults import UserFault
from finetune.families import family
from finetune.packaging.bundle import build
from finetune.packaging.passport import Passport
from finetune.packaging.signing import Signer
from finetune.records.texts import TextEncoder
from privatune.alone.clock import HighWater
from privatune.alone.opened import Opened, opened
from privatune.alone.serving import Wish, _require_readable, _serve
from tests.finetune.packaging.conftest import signer  # noqa: F401  fixture
from tests.finetune.packaging.test_embedder import made  # noqa: F401  fixture
from tests.fixtures.ports import own_port

TEXTS = ["turn on the light", "客厅"]
LICENSE = {"granted": {"valid_from": "2026-01-01T00:00:00Z", "valid_until": None}}


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Of 127.0.0.1, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    called = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made_out = (
        x509.CertificateBuilder()
        .subject_name(called)
        .issuer_name(called)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
    paths[0].write_bytes(made_out.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths


@pytest.fixture
def model(made: dict[str, Path], signer: Signer, tmp_path: Path) -> Opened:  # noqa: F811
    """A bundle of what was trained there, with a licence."""
    bundle = tmp_path / "bundle"
    build(
        bundle,
        adapter_dir=made["run"] / "result",
        passport=Passport.model_validate_json((made["artifact"] / "passport.json").read_bytes()),
        license_terms=LICENSE,
        signer=signer,
        base_dir=made["base"],
    )
    found = opened(
        bundle, base=made["base"], store=tmp_path / "bases", key=signer.public_pem, fingerprint=None
    )
    assert found.gives == "vectors"
    return found


def test_vectors_are_those_of_training_over_https(
    model: Opened,
    made: dict[str, Path],  # noqa: F811
    tmp_path: Path,
) -> None:
    tls, port = certificate(tmp_path, "here"), own_port()
    wish = Wish(
        bundle=tmp_path / "bundle", base=None, key=None, fingerprint=None, host="127.0.0.1",
        port=port, state=tmp_path, precision="fp32", threads=1, tls=tls,
    )  # fmt: skip
    clock = HighWater(tmp_path / "clock", least=model.signed_at)

    async def ask() -> list[list[float]]:
        there = asyncio.Event()
        serving = asyncio.create_task(
            _serve(wish, model, clock, tmp_path / "s", lambda _: there.set())
        )
        await asyncio.wait({serving, waiting := asyncio.create_task(there.wait())},
                           return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
        assert waiting.done(), serving.exception()
        trusted = ssl.create_default_context(cafile=str(tls[0]))
        url = f"https://127.0.0.1:{port}/v1"
        async with openai.DefaultAsyncHttpxClient(verify=trusted) as http:
            client = openai.AsyncOpenAI(
                base_url=url, api_key="none", max_retries=0, http_client=http
            )
            name = model.name
            assert [each.id async for each in client.models.list()] == [name]
            told = await client.embeddings.create(model=name, input=TEXTS)
            assert told.usage.prompt_tokens == told.usage.total_tokens > 0
            asked = await client.embeddings.create(
                model=name, input=TEXTS, encoding_format="float", extra_body={"input_type": "query"}
            )
            with pytest.raises(openai.BadRequestError):
                await client.embeddings.create(model=name, input=[])
            with pytest.raises(openai.NotFoundError, match="is not served here"):
                await client.embeddings.create(model="b", input="a")
            with pytest.raises(openai.NotFoundError, match="nothing at this address"):
                await client.completions.create(model=name, prompt="a")
        stranger = openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0)
        with pytest.raises(openai.APIConnectionError):  # its certificate is nobody's
            await stranger.models.list()
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        return [each.embedding for each in [*told.data, *asked.data]]

    found = torch.tensor(asyncio.run(ask()))
    embedder = family("embedding").resident(made["base"], precision="fp32", device="cpu")
    assert model.adapter is not None
    adapter = embedder.read_adapter(model.adapter.safetensors, model.adapter.config)
    encoder = TextEncoder(made["base"])
    ids = [encoder.encode(text, side) for side in ("text", "query") for text in TEXTS]
    expected = embedder.embed(ids, [adapter] * len(ids))  # type: ignore[union-attr]
    assert float((found - expected).abs().max()) < 1e-5


def test_a_key_of_another_certificate_is_refused_before_a_base_is_read(tmp_path: Path) -> None:
    one, other = certificate(tmp_path, "one"), certificate(tmp_path, "other")
    _require_readable(one)
    _require_readable(None)
    for wrong in ((one[0], other[1]), (one[1], one[0]), (tmp_path / "none", one[1])):
        with pytest.raises(UserFault) as caught:
            _require_readable(wrong)
        assert caught.value.code == "tls_unreadable"
    assert json.loads(json.dumps(caught.value.as_dict()))["param"] == "tls-cert"
