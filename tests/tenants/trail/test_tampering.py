"""What somebody with full power over the database can do to the trail, and how each shows.

The tampering is SQL of the superuser on the real table, past grants and row-level security.
"""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings

from finetune.packaging.signing import generate_key
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.models import Tenant
from tenants.services import heads
from tenants.services.audit import first_broken_link, record
from tenants.services.tenants import create_tenant
from tenants.services.trail_export import export_pages
from tenants.trail.chain import link_digest
from tenants.trail.heads import fingerprint, public_pem, sign_head
from tenants.trail.verify import Report, verify_export

KEY = generate_key()


@pytest.fixture
def tenant(committed: None) -> Tenant:
    """Twelve entries, a head after six, one after twelve."""
    tenant = create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")
    anna = Actor.person("anna@example.com", uuid.uuid4())
    for number in range(11):
        with tenant_scope(tenant.id):
            record(actor=anna, action="file.create", target=f"file-{number}", data={"n": number})
        if number == 4:
            heads.sign_tenant(tenant_id=tenant.id, private_pem=KEY)
    heads.sign_tenant(tenant_id=tenant.id, private_pem=KEY)
    return tenant


@pytest.fixture
def superuser(committed: None) -> Iterator["psycopg.Cursor[Any]"]:
    """The cluster's own superuser: no grant and no policy binds it."""
    secrets = json.loads((Path(os.environ["PRIVATUNE_TEST_DATA"]) / "secrets/env.json").read_text())
    database = settings.DATABASES["default"]
    with (
        psycopg.connect(
            host=database["HOST"],
            dbname=database["NAME"],
            user="postgres",
            password=secrets["DATABASE_SUPERUSER_PASSWORD"],
            autocommit=True,
        ) as connection,
        connection.cursor() as cursor,
    ):
        yield cursor


def export(tenant: Tenant) -> list[str]:
    pages = export_pages(tenant_id=tenant.id, public_key_pem=public_pem(KEY))
    return b"".join(pages).decode().splitlines()


def codes(report: Report) -> set[str]:
    return {problem.code for problem in report.problems}


def verify(tenant: Tenant, **options: Any) -> Report:
    return verify_export(
        export(tenant), trusted_fingerprint=fingerprint(public_pem(KEY)), **options
    )


def rewrite(cursor: "psycopg.Cursor[Any]", tenant: Tenant) -> list[dict[str, Any]]:
    """The whole chain computed anew with another story, every digest right."""
    entries = [json.loads(line) for line in export(tenant)]
    entries = [each for each in entries if each["type"] == "entry"]
    previous = ""
    for entry in entries:
        entry["target"] = entry["target"].replace("file-3", "file-innocent")
        entry["previous"] = previous
        entry["digest"] = previous = link_digest(entry)
        cursor.execute(
            "UPDATE tenants_auditentry SET target = %s, previous = %s, digest = %s"
            " WHERE tenant_id = %s AND seq = %s",
            [entry["target"], entry["previous"], entry["digest"], tenant.id, entry["seq"]],
        )
    return entries


def test_an_untouched_trail_verifies_with_its_heads(tenant: Tenant) -> None:
    report = verify(tenant)
    assert report.ok, report.problems
    assert (report.entries, report.heads, report.signed_to) == (12, 2, 12)
    assert report.trust == "fingerprint"


@pytest.mark.parametrize(
    "change",
    [
        "target = 'file-other'",
        "actor = 'bob@example.com'",
        "user_id = gen_random_uuid()",
        "kind = 'system'",
        "data = '{}'",
        "at = '2020-01-01'",
        "version = 1",
    ],
)
def test_editing_shows(tenant: Tenant, superuser: Any, change: str) -> None:
    superuser.execute(
        f"UPDATE tenants_auditentry SET {change} WHERE tenant_id = %s AND seq = 5", [tenant.id]
    )
    report = verify(tenant)
    assert {problem.seq for problem in report.problems} == {5}
    assert codes(report) <= {"edited", "older_rule"}
    with tenant_scope(tenant.id):
        assert first_broken_link() == 5


def test_deleting_shows(tenant: Tenant, superuser: Any) -> None:
    superuser.execute(
        "DELETE FROM tenants_auditentry WHERE tenant_id = %s AND seq = 5", [tenant.id]
    )
    assert "missing" in codes(verify(tenant))


def test_deleting_and_renumbering_shows(tenant: Tenant, superuser: Any) -> None:
    superuser.execute(
        "DELETE FROM tenants_auditentry WHERE tenant_id = %s AND seq = 5", [tenant.id]
    )
    for seq in range(6, 13):
        superuser.execute(
            "UPDATE tenants_auditentry SET seq = seq - 1 WHERE tenant_id = %s AND seq = %s",
            [tenant.id, seq],
        )
    assert {"edited", "truncated"} <= codes(verify(tenant))


def test_reordering_shows(tenant: Tenant, superuser: Any) -> None:
    for old, new in ((5, 100), (6, 5), (100, 6)):
        superuser.execute(
            "UPDATE tenants_auditentry SET seq = %s WHERE tenant_id = %s AND seq = %s",
            [new, tenant.id, old],
        )
    assert "edited" in codes(verify(tenant))


def test_lines_of_an_export_that_changed_places_show(tenant: Tenant) -> None:
    lines = export(tenant)
    lines[3], lines[4] = lines[4], lines[3]
    assert codes(verify_export(lines)) & {"missing", "reordered"}


def test_truncating_shows_by_the_heads(tenant: Tenant, superuser: Any) -> None:
    superuser.execute(
        "DELETE FROM tenants_auditentry WHERE tenant_id = %s AND seq > 8", [tenant.id]
    )
    assert codes(verify(tenant)) == {"truncated"}
    with tenant_scope(tenant.id):
        record(actor="test", action="later")  # the next seq is 9: the chain itself fits again
        assert first_broken_link() is None
    assert codes(verify(tenant)) == {"truncated"}


def test_truncating_together_with_the_heads_shows_by_what_the_customer_kept(
    tenant: Tenant, superuser: Any
) -> None:
    kept = export(tenant)
    only_head = [line for line in kept if '"type":"head"' in line][-1:]
    for table in ("tenants_auditentry", "tenants_audithead"):
        superuser.execute(f"DELETE FROM {table} WHERE tenant_id = %s AND seq > 8", [tenant.id])
    assert verify(tenant).ok, "nothing in this database tells; that is what exports are for"
    assert codes(verify(tenant, since=kept)) == {"truncated"}
    assert codes(verify(tenant, since=only_head)) == {"truncated"}


def test_rewriting_the_whole_chain_shows_by_the_heads(tenant: Tenant, superuser: Any) -> None:
    rewrite(superuser, tenant)
    with tenant_scope(tenant.id):
        assert first_broken_link() is None, "the chain alone cannot tell"
    assert codes(verify(tenant)) == {"rewritten", "unsigned"}


def test_rewriting_the_chain_and_the_heads_without_the_key_shows(
    tenant: Tenant, superuser: Any
) -> None:
    entries = rewrite(superuser, tenant)
    thief = generate_key()
    superuser.execute("DELETE FROM tenants_audithead WHERE tenant_id = %s", [tenant.id])
    assert codes(verify(tenant)) == {"unsigned"}
    forged = sign_head(
        thief, tenant=str(tenant.id), seq=12, digest=entries[-1]["digest"], at="2026-01-01"
    )
    superuser.execute(
        "INSERT INTO tenants_audithead (id, tenant_id, created_at, seq, digest, at, signer,"
        " signature) VALUES (gen_random_uuid(), %s, now(), 12, %s, %s, %s, %s)",
        [tenant.id, forged["digest"], forged["at"], forged["signer"], forged["signature"]],
    )
    assert codes(verify(tenant)) == {"bad_signature", "unsigned"}
    own_key = export_pages(tenant_id=tenant.id, public_key_pem=public_pem(thief))
    lines = b"".join(own_key).decode().splitlines()
    trusted = fingerprint(public_pem(KEY))
    assert "wrong_signer" in codes(verify_export(lines, trusted_fingerprint=trusted))


def test_rewriting_with_the_signing_key_shows_by_what_the_customer_kept(
    tenant: Tenant, superuser: Any
) -> None:
    kept = export(tenant)
    rewrite(superuser, tenant)
    superuser.execute("DELETE FROM tenants_audithead WHERE tenant_id = %s", [tenant.id])
    heads.sign_tenant(tenant_id=tenant.id, private_pem=KEY)
    assert verify(tenant).ok
    assert codes(verify(tenant, since=kept)) == {"rewritten"}
    assert codes(verify_export(export(tenant), since=kept)) == {"rewritten"}


@pytest.mark.parametrize("tampering", ["cut", "edit", "rewrite", "empty"])
def test_what_does_not_continue_the_signed_head_is_not_signed(
    tenant: Tenant, superuser: Any, tampering: str, caplog: pytest.LogCaptureFixture
) -> None:
    with tenant_scope(tenant.id):
        record(actor="test", action="later")
    if tampering == "rewrite":
        rewrite(superuser, tenant)
    else:
        statement = {
            "cut": "DELETE FROM tenants_auditentry WHERE tenant_id = %s AND seq = 12",
            "empty": "DELETE FROM tenants_auditentry WHERE tenant_id = %s AND seq > 11",
            "edit": "UPDATE tenants_auditentry SET target = '' WHERE tenant_id = %s AND seq = 13",
        }[tampering]
        if tampering == "edit":
            statement = statement.replace("target = ''", "target = 'x'")
        superuser.execute(statement, [tenant.id])
    with pytest.raises(heads.ChainBroken):
        heads.sign_tenant(tenant_id=tenant.id, private_pem=KEY)
    superuser.execute(
        "UPDATE tenants_audithead SET created_at = now() - interval '1 hour' WHERE tenant_id = %s",
        [tenant.id],
    )
    heads.sign_due(private_pem=KEY)
    if tampering != "empty":  # then nothing seems to have grown; the export shows it
        assert f"the audit chain of tenant {tenant.id} is not signed" in caplog.text
    assert not verify(tenant).ok


def test_heads_are_signed_when_due_and_only_then(tenant: Tenant, superuser: Any) -> None:
    with tenant_scope(tenant.id):
        record(actor="test", action="later")
    heads.sign_due(private_pem=KEY)
    assert verify(tenant).signed_to == 12, "the last head is younger than five minutes"
    superuser.execute(
        "UPDATE tenants_audithead SET created_at = now() - interval '1 hour' WHERE tenant_id = %s",
        [tenant.id],
    )
    heads.sign_due(private_pem=KEY)
    assert verify(tenant).signed_to == 13
    assert heads.sign_tenant(tenant_id=tenant.id, private_pem=KEY) is None


def test_another_tenants_entries_show(tenant: Tenant, superuser: Any) -> None:
    lines = export(tenant)
    other = create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Other", actor="test")
    heads.sign_tenant(tenant_id=other.id, private_pem=KEY)
    theirs = export(other)
    mixed = [theirs[0], *lines[1:]]
    assert "wrong_tenant" in codes(verify_export(mixed))
    assert codes(verify_export(theirs, since=lines)) == {"wrong_tenant"}


def test_an_export_that_was_cut_in_transfer_shows(tenant: Tenant) -> None:
    lines = export(tenant)
    for cut in range(len(lines)):
        assert not verify_export(lines[:cut]).ok
    assert "not_an_export" in codes(verify_export([*lines, lines[-1]]))
    assert "not_an_export" in codes(verify_export(["no json"]))
    assert "not_an_export" in codes(verify_export([lines[0], '{"type":"entry"}']))


def test_the_apps_role_may_only_add_heads(tenant: Tenant) -> None:
    from django.db import connection, transaction
    from django.db.utils import ProgrammingError

    for statement in ("UPDATE tenants_audithead SET seq = 1", "DELETE FROM tenants_audithead"):
        with (
            tenant_scope(tenant.id),
            pytest.raises(ProgrammingError, match="permission denied"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
