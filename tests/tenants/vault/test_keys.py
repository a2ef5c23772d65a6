"""The key hierarchy: who can open what, and what is said when a key is not there."""

import json
import stat
import uuid
from pathlib import Path

import pytest

from tenants.vault.errors import KeyDestroyed, KeyUnavailable
from tenants.vault.keys import MasterKey, new_tenant_key, open_master, unwrap_tenant_key

AWS = "aws-kms://arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"


def test_a_master_key_is_made_by_name_and_read_ever_after(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "master.json"
    tenant = uuid.uuid4()
    made = MasterKey.make_file(path)
    wrapped = new_tenant_key(made, tenant)
    unwrap_tenant_key(open_master(f"file://{path}"), wrapped, tenant)
    assert open_master(f"file:{path}").fingerprint == made.fingerprint
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["master.json"]


def test_a_master_key_is_never_made_over_another(tmp_path: Path) -> None:
    made = MasterKey.make_file(tmp_path / "master.json")
    with pytest.raises(FileExistsError):
        MasterKey.make_file(tmp_path / "master.json")
    assert MasterKey.from_file(tmp_path / "master.json").fingerprint == made.fingerprint
    assert MasterKey.make_file(tmp_path / "other.json").fingerprint != made.fingerprint


def test_a_mistyped_address_makes_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailable, match="privatune keys init"):
        open_master(f"file:{tmp_path / 'mastre.json'}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660, 0o601])
def test_a_master_key_that_others_can_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "master.json"
    MasterKey.make_file(path)
    path.chmod(mode)
    with pytest.raises(KeyUnavailable, match=f"chmod 600 {path}"):
        MasterKey.from_file(path)


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_a_secret_as_kubernetes_lays_it_is_accepted(tmp_path: Path, mode: int) -> None:
    """`..data` is a link to a dated folder, the name a link through it; the group may read."""
    dated = tmp_path / "..2026_11_26"
    made = MasterKey.make_file(dated / "master.json")
    (dated / "master.json").chmod(mode)
    (tmp_path / "..data").symlink_to(dated.name)
    (tmp_path / "master.json").symlink_to("..data/master.json")
    assert open_master(f"file:{tmp_path / 'master.json'}").fingerprint == made.fingerprint


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
    stranger = MasterKey.make_file(tmp_path / "other.json")
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
