"""Tenants as the tests need them: a licence, keys, and the openai client over them."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import httpx
from openai import OpenAI
from openai._models import BaseModel

from finetune.models import CatalogModel, Dataset
from finetune.services.files.checking import CHECK
from finetune.work.perform import perform
from tenants.access import Principal, belongings_of
from tenants.database.scope import tenant_scope
from tenants.models import Membership, User
from tenants.rights import Right
from tenants.roles import Role
from tenants.services.licences import issue_license
from tenants.services.people import create_user
from tenants.services.tenants import add_member, create_key, create_tenant


@dataclass(frozen=True)
class Customer:
    tenant_id: UUID
    slug: str
    key: str
    base_url: str

    def client(self, **options: Any) -> OpenAI:
        settings: dict[str, Any] = {"max_retries": 0, "timeout": None} | options
        return OpenAI(base_url=f"{self.base_url}/v1", api_key=self.key, **settings)

    def http(self, **headers: str) -> httpx.Client:
        """Without an SDK, for requests that no SDK would send."""
        return httpx.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self.key}"} | headers,
        )

    def check_files(self) -> None:
        """Does what a worker does: every reading that waits is checked, for real."""
        with tenant_scope(self.tenant_id):
            waiting = list(Dataset.objects.filter(state="pending").values_list("id", flat=True))
        for dataset_id in waiting:
            perform(CHECK, tenant_id=self.tenant_id, key=dataset_id)


def shelve(name: str = "shelf") -> CatalogModel:
    """A catalogue entry without weights, for whoever only looks at licences and rows."""
    return CatalogModel.objects.create(
        name=name, digest="sha256:0", path="none", architecture="Llama", parameters=1,
        context_length=64, bytes=1, task="dialogue", licence="Apache-2.0", source="test",
    )  # fmt: skip


def new_customer(
    base_url: str = "",
    *,
    scopes: Iterable[str] | None = None,
    models: Iterable[str] = (),
    name: str = "Test",
) -> Customer:
    slug = f"t-{uuid.uuid4().hex[:10]}"
    tenant = create_tenant(slug=slug, name=name, actor="test")
    for model in models:
        issue_license(tenant_id=tenant.id, model=model, rights=frozenset(Right), actor="test")
    _, secret = create_key(tenant_id=tenant.id, name="test", actor="test", scopes=scopes)
    return Customer(tenant.id, slug, secret, base_url)


def new_member(
    customer: Customer, role: Role = Role.OWNER, email: str = ""
) -> tuple[User, Principal]:
    """Somebody who belongs to the customer, as an operator would add the first owner."""
    user = create_user(email=email or f"{uuid.uuid4().hex}@work.example", password=None)
    add_member(tenant_id=customer.tenant_id, user=user, role=role, actor="test")
    return user, principal_of(user, customer)


def principal_of(user: User, customer: Customer) -> Principal:
    (found,) = [b for b in belongings_of(user.id) if b.tenant_id == customer.tenant_id]
    return found.principal(user.email)


def with_key_of(customer: Customer, user: User, scopes: Iterable[str] | None = None) -> Customer:
    """The customer as seen with a key that belongs to the member."""
    with tenant_scope(customer.tenant_id):
        member = Membership.objects.get(user=user)
    _, secret = create_key(
        tenant_id=customer.tenant_id, name="own", actor="test", scopes=scopes, member=member
    )
    return replace(customer, key=secret)


def strict(answer: BaseModel) -> None:
    """The SDK builds its models without looking; here each field is validated."""
    type(answer).model_validate(answer.to_dict(mode="python"))


def chat_rows(count: int = 4) -> bytes:
    row = (
        '{"messages": [{"role": "user", "content": "Say %d."},'
        ' {"role": "assistant", "content": "It is %d."}]}\n'
    )
    return "".join(row % (i, i) for i in range(count)).encode()
