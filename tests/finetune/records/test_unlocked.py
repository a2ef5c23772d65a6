"""A long text on its way into tokens holds up nobody else in the process."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.texts import PairEncoder, TextEncoder
from finetune.records.unlocked import LONG, encoded
from tests.embedders import build_embedder
from tests.rerankers import build_reranker
from tests.tiny import build_tiny_base, build_tokenizer

TEXT = "turn on the light " * 12_000


def of_pairs(folder: Path) -> Callable[[], object]:
    encoder = PairEncoder(build_reranker(folder))
    return lambda: encoder.measured("a query", TEXT)


def of_texts(folder: Path) -> Callable[[], object]:
    encoder = TextEncoder(build_embedder(folder))
    return lambda: encoder.measured(TEXT, "text")


def of_rows(folder: Path) -> Callable[[], object]:
    encoder = RowEncoder(load_tokenizer(build_tiny_base(folder)))
    return lambda: encoder.encode_prompt(TEXT)


@pytest.mark.parametrize("of", [of_pairs, of_texts, of_rows])
def test_others_go_on_meanwhile(of: Callable[[Path], Callable[[], object]], tmp_path: Path) -> None:
    encode = of(tmp_path / "base")
    begun, gone_on = threading.Event(), threading.Event()

    def other() -> None:
        begun.wait()
        for _ in range(20):  # each gives the lock away, and needs it again
            time.sleep(0.001)
        gone_on.set()

    thread = threading.Thread(target=other)
    thread.start()
    begun.set()
    encode()
    assert gone_on.is_set()
    thread.join()


@pytest.mark.parametrize("pair", [None, "the hall has a fan "])
@pytest.mark.parametrize("times", [1, LONG])
def test_tokens_are_the_same(pair: str | None, times: int) -> None:
    fast = build_tokenizer().backend_tokenizer
    text, pair = "客厅 😀 light " * times, pair and pair * times
    expected, found = fast.encode(text, pair), encoded(fast, text, pair)
    assert (found.ids, found.offsets) == (expected.ids, expected.offsets)
    assert found.sequence_ids == expected.sequence_ids
