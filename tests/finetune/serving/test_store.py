"""What stays in memory when there is not room for all."""

from pathlib import Path

import pytest

from faults import OurFault
from finetune.serving.store import ModelStore

from .conftest import read_files


def test_the_adapter_unused_for_longest_goes_first(
    tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    weights, config = read_files(adapter_folders["lora"])
    store = ModelStore(max_bases=1, adapter_bytes=1 << 30, precision="fp32")
    base = store.base(tiny_base, "tiny")
    store.add_adapter(base, "t", "a", weights, config)
    store.adapter_bytes = 2 * store.adapter("tiny", "t", "a").nbytes
    store.add_adapter(base, "t", "b", weights, config)
    store.adapter("tiny", "t", "a")  # used again, so that b is now the older
    store.add_adapter(base, "t", "c", weights, config)
    assert sorted(store.adapters_of(base)) == [("t", "a"), ("t", "c")]
    with pytest.raises(OurFault) as caught:
        store.adapter("tiny", "t", "b")
    assert caught.value.code == "adapter_not_loaded"
