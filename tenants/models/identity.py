"""Who: people, tenants, who belongs where in which role, and the keys that programs use."""

import uuid
from typing import Any

from django.contrib.auth.base_user import BaseUserManager
from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils.translation import gettext_lazy as _

from tenants import public_ids
from tenants.database.constraints import TenantIsolation
from tenants.models.base import TenantForeignKey, TenantOwned
from tenants.roles import Role


class UserManager(BaseUserManager["User"]):
    def create_user(self, email: str, password: str | None = None, **extra: Any) -> "User":
        user = self.model(email=self.normalize_email(email).lower(), **extra)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **extra: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **extra)


class User(AbstractUser):
    """A person, known by e-mail address. Belongs to no tenant by itself: see Membership."""

    operator_reads = ("id", "email", "is_staff", "is_active", "last_login", "date_joined")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True, verbose_name=_("e-mail"))

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS = []

    objects = UserManager()  # type: ignore[misc,assignment]

    def __str__(self) -> str:
        return self.email


class Tenant(models.Model):
    """An enterprise or public body. Destroying `wrapped_key` destroys its data everywhere."""

    operator_reads = (
        "id", "slug", "name", "created_at", "storage_mb", "requests_per_minute",
        "key_requests_per_minute", "tokens_per_minute",
    )  # fmt: skip

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    slug = models.SlugField(
        max_length=40,
        unique=True,
        verbose_name=_("short name"),
        help_text=_("Stands in addresses and commands, e.g. city-of-basel."),
    )
    name = models.CharField(max_length=120, verbose_name=_("name"))
    wrapped_key = models.BinaryField(null=True, editable=False)
    # Set: the key is destroyed and the rest is going. The certificate is signed when all is gone.
    shredding_at = models.DateTimeField(null=True, editable=False)
    certificate = models.JSONField(null=True, editable=False)
    # Members without a second factor in their session are let into no room.
    require_two_factor = models.BooleanField(default=False, db_default=False)
    # What the operator lets this one use; None: what the settings let everybody (limits.py).
    storage_mb = models.PositiveIntegerField(null=True, blank=True, verbose_name=_("storage, MB"))
    requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, verbose_name=_("requests a minute")
    )
    key_requests_per_minute = models.PositiveIntegerField(
        null=True, blank=True, verbose_name=_("requests a minute of each key")
    )
    tokens_per_minute = models.PositiveIntegerField(
        null=True, blank=True, verbose_name=_("tokens a minute")
    )
    created_at = models.DateTimeField(auto_now_add=True, verbose_name=_("made at"))

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        constraints = [TenantIsolation(name="tenants_tenant_isolation", column="id")]

    def __str__(self) -> str:
        return self.name


class Membership(TenantOwned):
    public = public_ids.MEMBER

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    role = models.CharField(max_length=10, choices=[(r.value, r.value) for r in Role])

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "user"], name="tenants_membership_once")
        ]


class ApiKey(TenantOwned):
    """A program's key. Only the SHA-256 of the secret is kept; the prefix finds the row.

    It belongs to a member (`created_by`), whose present role bounds it, or is a `service` key.
    Neither: its member is gone, and so is its power. While it is rotated, two secrets live: the
    previous one until `previous_until`. `seen_from` holds the places it was used from, the latest
    last; with a leading `!`, from where it was refused. `made_with` is the key that made it: it
    ends with that one and reaches no further (privatune_key_now asks the whole line).
    """

    public = public_ids.KEY

    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=16, unique=True)
    digest = models.CharField(max_length=64)
    previous_digest = models.CharField(max_length=64, blank=True)
    previous_until = models.DateTimeField(null=True, blank=True)
    scopes = ArrayField(models.CharField(max_length=32))
    created_by = TenantForeignKey(Membership, null=True, blank=True, related_name="+")
    made_with = TenantForeignKey("tenants.ApiKey", null=True, blank=True, related_name="+")
    service = models.BooleanField(default=False)
    allowed_addresses = ArrayField(models.CharField(max_length=43), default=list, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    seen_from = ArrayField(models.CharField(max_length=44), default=list, blank=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(service=False) | models.Q(created_by=None),
                name="tenants_apikey_one_holder",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"


class Invitation(TenantOwned):
    """The offer of a membership. Only the SHA-256 of its token is kept; it works once.

    `mailed`: the token went to the address, so whoever holds it reads that mailbox. Else the
    inviter handed it over. `inviter` is what members are shown; the invited person is told no
    more than the member or the organisation (`services.invitations.inviter_of`).
    """

    public = public_ids.INVITATION

    email = models.EmailField()
    role = models.CharField(max_length=10, choices=[(r.value, r.value) for r in Role])
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    mailed = models.BooleanField(default=False)
    inviter = models.CharField(max_length=330)
    invited_by = TenantForeignKey(Membership, null=True, blank=True, related_name="+")
    invited_with = TenantForeignKey(ApiKey, null=True, blank=True, related_name="+")
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None, revoked_at=None),
                name="tenants_invitation_one_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} ({self.role})"
