"""Run before each start of the embedded stack, in a process of its own. `keys`, before the
migrations: compares the keys with those of a database that is there, which other keys must not
change. `tenant`, after them: on the first start the keys' fingerprints are written down and a demo
tenant is made with a login and a key.

    python -m privatune.stack.prepare keys | tenant
"""

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

import django


def main() -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
    django.setup()
    from django.conf import settings

    assert settings.SIGNING_KEY_FILE is not None  # `up` starts this as the operator's process
    if sys.argv[1] == "keys":
        require_no_other_keys()
        return 0
    require_registered_keys()
    credentials = ensure_first_tenant(settings.DATA / "secrets" / "first.json")
    json.dump(credentials, sys.stdout)
    return 0


def require_no_other_keys() -> None:
    """Ends with one clear text where the database knows other keys than these."""
    from django.db import ProgrammingError

    from tenants.services import key_prints
    from tenants.vault.errors import KeyUnavailable

    try:
        key_prints.check(registered=False)
    except KeyUnavailable as error:
        raise SystemExit(str(error)) from None
    except ProgrammingError:  # it has no tables yet: the first start was cut off
        return


def require_registered_keys() -> None:
    """Ends with one clear text when the files are not the keys that the database was made with."""
    from finetune.signing import public_key_pem
    from privatune.keys import write_public_half
    from tenants.services import key_prints
    from tenants.vault.errors import KeyUnavailable

    try:
        key_prints.register()
    except KeyUnavailable as error:
        raise SystemExit(str(error)) from None
    write_public_half(settings_path("SIGNING_PUBLIC_KEY_FILE"), public_key_pem())


def settings_path(name: str) -> Path:
    from django.conf import settings

    return Path(getattr(settings, name))


def ensure_first_tenant(path: Path) -> dict[str, object]:
    """A tenant, an owner and a key for whoever starts the embedded stack, kept beside the secrets
    so that a later start shows the same ones, as long as they open something."""
    from tenants.models import User
    from tenants.roles import Role
    from tenants.services.people import create_user
    from tenants.services.tenants import add_member, create_key, create_tenant

    if path.exists():
        return _forget_what_changed(path)
    password, operator_password = secrets.token_urlsafe(12), secrets.token_urlsafe(12)
    slug = f"demo-{secrets.token_hex(2)}" if User.objects.exists() else "demo"
    tenant = create_tenant(slug=slug, name="Demo", actor="privatune up")
    user = create_user(email=f"owner@{slug}.example", password=password)
    owner = add_member(tenant_id=tenant.id, user=user, role=Role.OWNER, actor="privatune up")
    _key, secret = create_key(tenant_id=tenant.id, name="first", member=owner, actor="privatune up")
    operator = User.objects.create_superuser(f"operator@{slug}.example", operator_password)
    made: dict[str, object] = {
        "api_key": secret,
        "tenant": slug,
        "login": {"email": user.email, "password": password},
        "operator": {"email": operator.email, "password": operator_password},
    }
    _write_private(path, json.dumps(made, indent=2).encode())
    return made


def _forget_what_changed(path: Path) -> dict[str, object]:
    """Who has chosen a password, or ended the key, is not shown the first one for ever, and it lies
    in no file."""
    from tenants.access import find_key
    from tenants.errors import NotAuthenticated, TenantGone
    from tenants.models import User

    kept: dict[str, Any] = json.loads(path.read_text("utf-8"))
    before = json.dumps(kept)
    for name in ("login", "operator"):
        user = User.objects.filter(email=kept[name]["email"]).first()
        password = kept[name]["password"]
        if password and (user is None or not user.check_password(password)):
            kept[name]["password"] = None
    try:
        find_key(kept["api_key"] or "")
    except (NotAuthenticated, TenantGone):
        kept["api_key"] = None
    if json.dumps(kept) != before:
        _write_private(path, json.dumps(kept, indent=2).encode())
    return kept


def _write_private(path: Path, content: bytes) -> None:
    partial = path.with_suffix(".tmp")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.rename(path)


if __name__ == "__main__":
    raise SystemExit(main())
