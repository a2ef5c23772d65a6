"""Makes an installation's keys, when somebody says so: `privatune keys init`, and nothing else."""

from dataclasses import dataclass
from pathlib import Path

from finetune.packaging.signing import generate_key, load_signer
from tenants.vault.keyfiles import make_key_file
from tenants.vault.keys import MasterKey, master_file


@dataclass(frozen=True)
class Made:
    what: str
    path: Path
    fingerprint: str


class KeysExist(Exception):
    """A key is there already, and nothing was made."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"There is a key already: {path}")
        self.path = path


def existing(master_uri: str, signing: Path) -> list[Path]:
    master = master_file(master_uri)
    return [path for path in (master, signing) if path is not None and path.exists()]


def make_keys(*, master_uri: str, signing: Path, public: Path) -> list[Made]:
    """The master key, unless a KMS holds it, and the signing key with its public half.

    Raises KeysExist when one of the two is there: half an installation's keys is a mistake.
    """
    for path in existing(master_uri, signing):
        raise KeysExist(path)
    made = []
    master = master_file(master_uri)
    try:
        if master is not None:
            made.append(Made("master key", master, MasterKey.make_file(master).fingerprint))
        private = generate_key()
        make_key_file(signing, private)
    except FileExistsError as error:  # somebody else was faster
        raise KeysExist(Path(error.filename2 or error.filename)) from error
    signer = load_signer(private)
    made.append(Made("signing key", signing, signer.fingerprint))
    write_public_half(public, signer.public_pem)
    return made


def write_public_half(path: Path, pem: str) -> None:
    """Public, so it may be written again: for the processes that must not sign."""
    path.parent.mkdir(0o700, parents=True, exist_ok=True)
    path.write_text(pem, encoding="ascii")
    path.chmod(0o644)
