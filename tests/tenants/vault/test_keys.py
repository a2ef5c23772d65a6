"""The key hierarchy: who can open what, and what is said when a key is not there."""

import json
import multiprocessing
import stat
import uuid
from pathlib import Path

import pytest

from tenants.vault.errors import KeyDestroyed, KeyUnavailable
from tenants.vault.keys import MasterKey, new_tenant_key, open_master, unwrap_tenant_key

AWS = "aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_master_key_is_made_once_and_read_ever_after(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.json"
    tenant = uuid.uuid4()
    wrapped = new_tenant_key(open_master(f"file:{path}"), tenant)
    unwrap_tenant_key(open_master(f"file://{path}"), wrapped, tenant)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["master.json"]


def test_processes_that_start_together_agree_on_one_master_key(tmp_path: Path) -> None:
    path = tmp_path / "master.json"
    tenant = uuid.uuid4()
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        wrapped = pool.starmap(_wrap, [(path, tenant)] * 8)
    for each in wrapped:
        unwrap_tenant_key(MasterKey.from_file(path, create=False), each, tenant)


def _wrap(path: Path, tenant: uuid.UUID) -> bytes:
    return new_tenant_key(MasterKey.from_file(path), tenant)


def test_a_missing_master_key_is_not_made_when_that_is_not_wanted(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="backup"):
        MasterKey.from_file(tmp_path / "master.json", create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "master.json"
    MasterKey.from_file(path)
    path.chmod(0o640)
    with pytest.raises(KeyUnavailable, match=f"chmod 600 {path}"):
        MasterKey.from_file(path)


@pytest.mark.parametrize("content", ["", "{}", "not json", json.dumps({"primaryKeyId": 1})])
def test_a_file_that_is_no_keyset_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "master.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(KeyUnavailable, match="no tink AEAD keyset"):
        MasterKey.from_file(path)


def test_a_tenants_key_opens_for_that_tenant_only(master: MasterKey) -> None:
    tenant, other = uuid.uuid4(), uuid.uuid4()
    wrapped = new_tenant_key(master, tenant)
    unwrap_tenant_key(master, wrapped, str(tenant))
    with pytest.raises(KeyUnavailable, match=str(other)):
        unwrap_tenant_key(master, wrapped, other)


def test_a_tenants_key_opens_under_its_master_key_only(master: MasterKey, tmp_path: Path) -> None:
    tenant = uuid.uuid4()
    stranger = MasterKey.from_file(tmp_path / "other.json")
    with pytest.raises(KeyUnavailable, match=r"other\.json"):
        unwrap_tenant_key(stranger, new_tenant_key(master, tenant), tenant)


def test_no_bit_of_a_wrapped_key_can_be_changed(master: MasterKey) -> None:
    tenant = uuid.uuid4()
    wrapped = new_tenant_key(master, tenant)
    for place in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[place] ^= 1 << (place % 8)
        with pytest.raises(KeyUnavailable):
            unwrap_tenant_key(master, bytes(changed), tenant)


def test_two_tenants_never_share_a_key(master: MasterKey) -> None:
    tenant = uuid.uuid4()
    assert new_tenant_key(master, tenant) != new_tenant_key(master, tenant)


@pytest.mark.parametrize("nothing", [None, b"", memoryview(b"")])
def test_a_destroyed_key_says_so(master: MasterKey, nothing: bytes | None) -> None:
    with pytest.raises(KeyDestroyed, match="never be read again") as caught:
        unwrap_tenant_key(master, nothing, uuid.uuid4())
    assert caught.value.code == "key_destroyed"


@pytest.mark.parametrize("uri", ["", "master.json", "file:", "file:///", "vault://x"])
def test_an_address_that_is_no_master_key_says_what_would_be(uri: str) -> None:
    with pytest.raises(KeyUnavailable, match="file:/absolute/path"):
        open_master(uri)


def test_a_google_key_without_its_package_says_what_to_install() -> None:
    with pytest.raises(KeyUnavailable, match=r"tink\[gcpkms\]"):
        open_master("gcp-kms://projects/p/locations/l/keyRings/r/cryptoKeys/k")


@pytest.mark.parametrize("uri", ["aws-kms://", "aws-kms://alias/mine"])
def test_an_aws_address_without_a_key_is_refused(uri: str) -> None:
    with pytest.raises(KeyUnavailable, match="aws-kms://arn:aws:kms:REGION"):
        open_master(uri)


def test_a_key_service_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    with pytest.raises(KeyUnavailable, match="refused aws-kms://"):
        new_tenant_key(open_master(AWS), uuid.uuid4())
