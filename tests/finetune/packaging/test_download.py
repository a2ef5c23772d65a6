"""A hub id is fetched as safetensors only; without a network the error says what to do."""

import pytest

from finetune.errors import UserFault
from finetune.packaging.base import download_base


def test_offline_the_fault_names_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserFault) as fault:
        download_base("HuggingFaceTB/SmolLM2-135M-Instruct", tmp_path)
    assert fault.value.code == "hub_offline"
    assert "import the folder" in fault.value.fix


def test_a_name_that_is_no_hub_id_is_refused(tmp_path):
    with pytest.raises(UserFault) as fault:
        download_base("not a hub id", tmp_path)
    assert fault.value.code == "bad_hub_id"
