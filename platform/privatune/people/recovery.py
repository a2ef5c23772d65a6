"""Access for somebody who has lost it, by whoever runs the machine, and never in silence: every
organisation that the person belongs to finds it in its audit log."""

import secrets

from allauth.mfa.models import Authenticator
from django.db import transaction

from tenants.access import belongings_of
from tenants.database.scope import tenant_scope
from tenants.errors import NotFound
from tenants.models import User
from tenants.services.audit import record


def reset(*, email: str, second_factor: bool, actor: str) -> str:
    """A fresh password, returned once; it ends every session. With `second_factor` the person's
    authenticators go too and are enrolled anew. Raises NotFound."""
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is None:
        raise NotFound(
            "user_not_found",
            f"There is no account {email!r}.",
            fix="Give the address with which the person signs in.",
        )
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        user.set_password(password)
        user.save(update_fields=["password"])
        if second_factor:
            Authenticator.objects.filter(user=user).delete()
        for belonging in belongings_of(user.pk):
            with tenant_scope(belonging.tenant_id):
                record(
                    actor=actor,
                    action="member.reset",
                    target=user.email,
                    data={"second_factor": second_factor},
                )
    return password
