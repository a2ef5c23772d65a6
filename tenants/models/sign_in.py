"""A tenant's own identity provider, through which its members may sign in."""

from django.db import models

from tenants.models.base import TenantOwned


class SignInProvider(TenantOwned):
    """OpenID Connect. The client's secret is no column: it lies in the tenant's vault."""

    issuer = models.URLField(max_length=300)
    client_id = models.CharField(max_length=200)
    secret_object = models.CharField(max_length=80)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["tenant"], name="tenants_one_provider")]

    def __str__(self) -> str:
        return self.issuer
