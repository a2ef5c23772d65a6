"""Attempts to prove who one is, counted so that secrets cannot be guessed."""

from django.db import models


class ProofAttempt(models.Model):
    """One attempt that has not succeeded (yet): a success deletes its row.

    It belongs to no tenant: nobody is known yet. `subject` is a keyed digest, because people type
    passwords into the wrong field; so is `device`, which is empty for a browser not seen before.
    """

    # The account, where there is one, and what was given: a password, a code, or no sign-in ("").
    user_id = models.UUIDField(null=True)
    step = models.CharField(max_length=8, blank=True)
    # It failed, and the logs of its member's organisations do not say so yet.
    untold = models.BooleanField(default=False)
    subject = models.CharField(max_length=64)
    network = models.CharField(max_length=49)
    device = models.CharField(max_length=64, blank=True)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["subject", "at"], name="tenants_proof_subject"),
            models.Index(fields=["network", "at"], name="tenants_proof_network"),
            models.Index(fields=["at"], name="tenants_proof_at"),
            models.Index(
                fields=["user_id", "step"],
                name="tenants_proof_untold",
                condition=models.Q(untold=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject[:8]} {self.at}"
