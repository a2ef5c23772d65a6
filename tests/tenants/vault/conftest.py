"""Both backends, real: a folder, and an S3 server; a disk that is soon full; a master key."""

import os
import resource
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tenants.vault.keys import MasterKey, TenantKey, new_tenant_key, unwrap_tenant_key
from tenants.vault.stores.contract import ObjectStore
from tenants.vault.stores.folder import FolderStore
from tenants.vault.stores.opening import open_store
from tenants.vault.vault import Vault
from tests.s3 import S3Server, s3_server


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "root") as server:
        yield server


@pytest.fixture
def s3_store(s3: S3Server) -> ObjectStore:
    bucket = f"b-{uuid.uuid4().hex}"
    return open_store(s3.bucket(bucket).replace(bucket, f"{bucket}/installation"))


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(f"file://{tmp_path / 'objects'}")
    return request.getfixturevalue("s3_store")


@pytest.fixture(params=["tmpfs", "rlimit"])
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder where a file of more than a megabyte finds no room."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "rlimit":
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        yield folder
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        return
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a tmpfs is not allowed here; the rlimit variant runs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def master(tmp_path_factory: pytest.TempPathFactory) -> MasterKey:
    return MasterKey.make_file(tmp_path_factory.mktemp("keys") / "master.json")


class Tenant:
    """A tenant with a key of its own; `vault(store)` is its vault there."""

    def __init__(self, master: MasterKey) -> None:
        self.id = uuid.uuid4()
        self.wrapped = new_tenant_key(master, self.id)
        self.key: TenantKey = unwrap_tenant_key(master, self.wrapped, self.id)

    def vault(self, store: ObjectStore) -> Vault:
        return Vault(store, self.id, self.key)


@pytest.fixture
def tenant(master: MasterKey) -> Tenant:
    return Tenant(master)


@pytest.fixture
def other_tenant(master: MasterKey) -> Tenant:
    return Tenant(master)


@pytest.fixture
def folder_store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")
