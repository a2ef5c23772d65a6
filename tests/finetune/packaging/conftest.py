"""A trained adapter of the tiny base, its passport, a signer and the artifact of them."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from finetune.packaging.bundle import BundleInfo, build
from finetune.packaging.passport import BaseUsed, DatasetUsed, Evaluation, Passport
from finetune.packaging.signing import Signer, generate_key, load_signer
from finetune.states import ExitCode
from tests.finetune.trainer.runs import finish, make_run


@pytest.fixture(scope="session")
def adapter(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result folder that the trainer left."""
    folder = tmp_path_factory.mktemp("run") / "run"
    made = make_run(folder, tiny_base, rows=8, adapter={"r": 4}, base_name="tiny")
    assert finish(made) == ExitCode.DONE
    return made / "result"


@pytest.fixture(scope="session")
def passport() -> Passport:
    return Passport(
        name="ft:tiny:acme:lights:abc",
        tenant="acme",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        code_version="0.1.0",
        base=BaseUsed(
            name="tiny",
            digest="sha256:" + "0" * 64,
            licence="Apache-2.0",
            hub_id="acme/tiny",
            revision="0" * 40,
            architecture="LlamaForCausalLM",
            parameters=28832,
        ),
        datasets=[DatasetUsed(role="train", name="a|b<c>", sha256="1" * 64, rows=800)],
        family="causal_lm",
        method="sft",
        hyperparameters={"learning_rate": 1e-3, "batch_size": 8},
        seed=0,
        precision="fp32",
        steps=200,
        epochs=2,
        evaluation=Evaluation(train_loss=0.5, validation_loss=0.6, metrics={"exact": 0.7}),
    )


@pytest.fixture(scope="session")
def signer() -> Signer:
    return load_signer(generate_key())


@pytest.fixture(scope="session")
def built(
    adapter: Path,
    passport: Passport,
    signer: Signer,
    tiny_base: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, BundleInfo]:
    out = tmp_path_factory.mktemp("artifacts") / "artifact"
    terms = {"licence": "Apache-2.0", "may": ["train", "export", "serve"]}
    return out, build(
        out,
        adapter_dir=adapter,
        passport=passport,
        license_terms=terms,
        signer=signer,
        base_dir=tiny_base,
    )


@pytest.fixture(scope="session")
def artifact(built: tuple[Path, BundleInfo]) -> Path:
    return built[0]
