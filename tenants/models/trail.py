"""What happened: the audit chain, and what an earlier request with the same key was answered."""

from django.db import models

from tenants import public_ids
from tenants.models.base import TenantOwned


class AuditEntry(TenantOwned):
    """One link of the tenant's chain: `digest` = SHA-256 over the entry and the previous digest.

    The app's database role may insert and read here, never change or delete. `version` is the rule
    of the digest (tenants/trail/chain.py); ids are not foreign keys: they outlive what they name.
    """

    public = public_ids.AUDIT

    seq = models.BigIntegerField()
    version = models.SmallIntegerField(default=1)
    kind = models.CharField(max_length=10, blank=True)
    actor = models.CharField(
        max_length=330
    )  # an e-mail address has up to 254, with room for a mark
    user_id = models.UUIDField(null=True)
    key_id = models.UUIDField(null=True)
    action = models.CharField(max_length=60)
    target = models.CharField(max_length=330, blank=True)
    data = models.JSONField(default=dict)
    at = models.CharField(max_length=32)  # ISO 8601 as hashed
    previous = models.CharField(max_length=64, blank=True)
    digest = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "seq"], name="tenants_audit_seq_once")
        ]
        indexes = [  # "was this noted already in this hour?" is asked at every download
            models.Index(
                fields=["tenant", "action", "target", "created_at"], name="tenants_audit_acts"
            )
        ]


class AuditHead(TenantOwned):
    """Where the chain stood, signed by the operator (tenants/trail/heads.py). Only ever added."""

    seq = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    at = models.CharField(max_length=32)  # ISO 8601 as signed
    signer = models.CharField(max_length=71)
    signature = models.CharField(max_length=120)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "seq"], name="tenants_head_seq_once")
        ]


class IdempotencyRecord(TenantOwned):
    """The first answer to a request, for whoever asks the same again.

    The unique constraint is what makes two concurrent retries one: the second insert waits for the
    first and then reads its answer.
    """

    key = models.CharField(max_length=200)
    route = models.CharField(max_length=120)
    body_sha256 = models.CharField(max_length=64)
    status = models.IntegerField(null=True)
    sealed = models.BinaryField(null=True)  # the answer's JSON, by the tenant's key

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["tenant", "route", "key"], name="tenants_idem_once")
        ]


class KeyPrint(models.Model):
    """The fingerprint of a key of this installation. A process whose file has another does not
    start (privatune/gate.py). Written once, by `privatune keys register`; the app never changes it.
    """

    name = models.CharField(primary_key=True, max_length=10)  # master or signing
    fingerprint = models.CharField(max_length=200)
    place = models.CharField(max_length=400)  # where it lay when it was registered, for people
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.name} {self.fingerprint}"
