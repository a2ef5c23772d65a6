"""Compares the keys that this process was given with the ones its database was made with.

Another master key opens no tenant's data, and what it wraps is lost with it; another signing key
signs artifacts that fail at the customer. Both went unnoticed when a file was simply not there.
"""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from tenants.models import KeyPrint
from tenants.trail.heads import BadKey, fingerprint, public_pem
from tenants.vault.errors import KeyUnavailable
from tenants.vault.keyfiles import read_key_file
from tenants.vault.keys import open_master

MASTER, SIGNING = "master", "signing"


@dataclass(frozen=True)
class Key:
    name: str
    fingerprint: str
    place: str


class WrongKey(KeyUnavailable):
    """A key that is not the installation's."""


def present() -> list[Key]:
    """The keys that this process may know, from where its settings say. Raises KeyUnavailable."""
    keys = []
    if settings.MASTER_KEY_URI:
        master = open_master(settings.MASTER_KEY_URI)
        keys.append(Key(MASTER, master.fingerprint, master.label))
    if settings.SIGNING_KEY_FILE is not None:
        pem = public_pem(read_key_file(settings.SIGNING_KEY_FILE, "signing key"))
        keys.append(_signing(pem, settings.SIGNING_KEY_FILE))
    elif settings.SIGNING_PUBLIC_KEY_FILE is not None:
        path = Path(settings.SIGNING_PUBLIC_KEY_FILE)
        try:
            keys.append(_signing(path.read_text("ascii"), path))
        except OSError as error:
            raise KeyUnavailable(
                f"The signing key's public half {path} cannot be read: {error}.",
                "`privatune keys init` wrote it beside the signing key; "
                "PRIVATUNE_SIGNING_PUBLIC_KEY names it.",
            ) from error
    return keys


def register() -> list[Key]:
    """Writes down the keys of an installation that has none written down; checks the others.

    Returns what was written. Raises WrongKey, KeyUnavailable.
    """
    written = []
    for key in present():
        _, made = KeyPrint.objects.get_or_create(
            name=key.name, defaults={"fingerprint": key.fingerprint, "place": key.place}
        )
        if made:
            written.append(key)
    check()
    return written


def check(*, registered: bool = True) -> None:
    """Raises WrongKey or KeyUnavailable, naming the file and both fingerprints. With `registered`
    false a key that nobody has registered yet is no fault."""
    expected = {each.name: each for each in KeyPrint.objects.all()}
    try:
        keys = present()
    except (KeyUnavailable, BadKey) as error:
        known = "; ".join(f"{e.name} key {e.fingerprint}, at {e.place}" for e in expected.values())
        if not known:
            raise
        raise WrongKey(
            f"{getattr(error, 'message', error)} This installation has: {known}.",
            getattr(error, "fix", "Restore the key from its backup."),
        ) from error
    for key in keys:
        wanted = expected.get(key.name)
        if wanted is None and not registered:
            continue
        if wanted is None:
            raise WrongKey(
                f"The {key.name} key {key.place} is not registered in the database.",
                "If this is the installation's key, run `privatune keys register` once.",
            )
        if wanted.fingerprint != key.fingerprint:
            raise WrongKey(
                f"The {key.name} key {key.place} has the fingerprint {key.fingerprint}; this "
                f"installation's has {wanted.fingerprint} (registered from {wanted.place}).",
                f"Put the file {wanted.place} from its backup there; a key cannot be made again.",
            )


def _signing(pem: str, path: Path) -> Key:
    return Key(SIGNING, fingerprint(pem), str(path))
