"""Entries carry who acted by id: a name is a text that anybody may choose."""

import copy
import hashlib
import json
import pickle
import uuid

import pytest
from django.db import connection

from tenants.access import authenticate_key, belongings_of
from tenants.actor import Actor, ActorKind, actor_of
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, Tenant
from tenants.roles import Role
from tenants.services.audit import entry_json, first_broken_link, record
from tenants.services.people import create_user
from tenants.services.tenants import add_member, create_key, create_tenant
from tenants.trail.chain import link_digest

pytestmark = pytest.mark.django_db


@pytest.fixture
def tenant() -> Tenant:
    return create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")


def last_entry() -> AuditEntry:
    entry = AuditEntry.objects.order_by("-seq").first()
    assert entry is not None
    return entry


def test_an_actor_travels_as_a_text_and_keeps_its_ids() -> None:
    anna = Actor.person("anna@example.com", uuid.uuid4())
    assert json.loads(json.dumps({"by": anna})) == {"by": "anna@example.com"}
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::text, %s || '!'", [anna, anna])
        assert cursor.fetchone() == ("anna@example.com", "anna@example.com!")
    for same in (copy.deepcopy(anna), pickle.loads(pickle.dumps(anna)), actor_of(anna)):
        assert (same, same.kind, same.user_id) == (anna, ActorKind.PERSON, anna.user_id)


def test_an_entry_names_the_person_or_the_key_by_id(tenant: Tenant) -> None:
    user = create_user(email=f"{uuid.uuid4().hex}@example.com", password=None)
    add_member(tenant_id=tenant.id, user=user, role=Role.OWNER, actor="test")
    (belonging,) = belongings_of(user.id)
    key, secret = create_key(
        tenant_id=tenant.id, name="ci", actor=belonging.principal(user.email).actor
    )
    with tenant_scope(tenant.id):
        made = last_entry()
        assert (made.actor, made.kind, made.user_id) == (user.email, "person", user.id)
        record(actor=authenticate_key(secret).actor, action="test")
        used = last_entry()
        assert (used.actor, used.kind, used.key_id) == ("key:ci", "key", key.id)
        assert first_broken_link() is None


def test_nobody_writes_in_anothers_name(tenant: Tenant) -> None:
    """The address of a colleague, taken over, still leaves one's own id; without one, nothing."""
    victim, thief = uuid.uuid4(), uuid.uuid4()
    with tenant_scope(tenant.id):
        record(actor=Actor.person("owner@example.com", victim), action="real")
        record(actor=Actor.person("owner@example.com", thief), action="false")
        assert last_entry().user_id == thief
        with pytest.raises(ValueError, match="carries no user id"):
            record(actor="owner@example.com", action="forged")
        assert last_entry().action == "false"


@pytest.mark.parametrize("change", ["user_id", "key_id", "kind", "tenant_id", "version"])
def test_the_ids_are_part_of_what_the_digest_covers(tenant: Tenant, change: str) -> None:
    other = create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Other", actor="test")
    with tenant_scope(tenant.id):
        record(actor=Actor.person("anna@example.com", uuid.uuid4()), action="test")
        entry = last_entry()
    values = {"kind": "key", "version": 1, "tenant_id": other.id}
    values = {change: values.get(change, uuid.uuid4())}
    forged = {field.attname: getattr(entry, field.attname) for field in entry._meta.fields}
    forged |= values
    assert link_digest(entry_json(entry)) == entry.digest
    assert link_digest(entry_json(AuditEntry(**forged))) != entry.digest


def test_entries_from_before_the_ids_keep_the_rule_they_were_written_by() -> None:
    """The digest here is the old code's own; and no chain goes back to the older rule."""

    def old_entry(seq: int, previous: str) -> AuditEntry:
        body = {
            "actor": "anna@example.com",
            "action": "key.create",
            "target": "abc",
            "data": {"name": "Zürich"},
            "at": "2026-01-01T00:00:00.000000+00:00",
        }
        text = json.dumps(
            {"seq": seq, "previous": previous, **body},
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )
        digest = hashlib.sha256(text.encode()).hexdigest()
        return AuditEntry.objects.create(seq=seq, previous=previous, digest=digest, **body)

    tenant_id = uuid.uuid4()
    with tenant_scope(tenant_id):
        Tenant.objects.create(id=tenant_id, slug=f"t-{tenant_id.hex[:8]}", name="Old")
        first = old_entry(1, "")
        assert old_entry(2, first.digest).version == 1
        record(actor="test", action="new")
        assert first_broken_link() is None
        old_entry(4, last_entry().digest)
        assert first_broken_link() == 4
