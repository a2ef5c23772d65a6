"""Checking bytes in this process, as most tests of the checker do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from finetune.records.check.run import run_check
from finetune.records.check.spec import CheckReport, CheckSpec
from finetune.records.encode import load_tokenizer
from tests.finetune.records.templates import EVERY, control_tokens, source
from tests.tiny import build_tokenizer

Check = Callable[..., CheckReport]


@pytest.fixture
def out_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def check(tmp_path: Path, out_dir: Path) -> Check:
    """check(data, name="data.jsonl", **spec) -> report; the files lie in out_dir."""

    def run(data: bytes | Path, name: str = "data.jsonl", **spec: object) -> CheckReport:
        source = data
        if isinstance(data, bytes):
            source = tmp_path / "source"
            source.write_bytes(data)
        told = CheckSpec.model_validate({"source": source, "source_name": name, **spec})
        return run_check(told, out_dir, lambda read, rows: None)

    return run


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    build_tokenizer("default_system").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def real(smollm2: Path) -> PreTrainedTokenizerFast:
    """SmolLM2's own tokenizer, which joins line breaks and spaces, told of all control tokens."""
    loaded: PreTrainedTokenizerFast = load_tokenizer(smollm2)
    every = sorted({token for name in EVERY for token in control_tokens(source(name))})
    loaded.add_special_tokens({"additional_special_tokens": every})
    loaded.add_special_tokens({"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"})
    return loaded
