"""The audit log in the portal: every act in words, for whoever may read it, and nobody else's."""

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from privatune.portal.trail_words import ACTS, KIND_NAMES, PAGES, told
from tenants.access import authenticate_key
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, AuditHead, User
from tenants.operator_site import ALLOWED
from tenants.roles import ROLE_SCOPES, Role, Scope
from tenants.services.audit import record
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.people import browser_of, member
from tests.privatune.graph import ROOT, ROOTS

pytestmark = pytest.mark.django_db


def acts_in(tree: ast.Module) -> Iterator[str]:
    """Whatever is given as `action` to anything, or is its default."""
    constants = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    given = [
        word.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg == "action"
    ]
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            defaults = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
            given += [value for arg, value in defaults if arg.arg == "action" and value]
    for value in given:
        names = [each.id for each in ast.walk(value) if isinstance(each, ast.Name)]
        for part in (value, *(constants[name] for name in names if name in constants)):
            for each in ast.walk(part):
                text = str(each.value) if isinstance(each, ast.Constant) else ""
                if re.fullmatch(r"[a-z_]+\.[a-z_]+", text):
                    yield text


def test_every_act_that_the_source_writes_has_words_and_no_other_has() -> None:
    written = {
        act
        for package, root in ROOTS.items()
        for path in (root / package).rglob("*.py")
        for act in acts_in(ast.parse(path.read_text()))
    }
    assert written == set(ACTS)
    assert {act.kind for act in ACTS.values()} == set(KIND_NAMES)
    shown = {name.removeprefix("tenants.").removeprefix("finetune.") for name in ALLOWED}
    assert shown - {"catalogmodel"} == set(PAGES)


def test_the_reference_lists_every_entry_in_the_portals_words() -> None:
    page = (ROOT / "docs" / "reference" / "audit-log.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `([a-z_]+\.[a-z_]+)` \| (.+) \|$", page, re.MULTILINE))
    with translation.override("en"):
        said = {name: re.sub(r"%\((\w+)\)s", r"{\1}", str(ACTS[name].words)) for name in ACTS}
    assert listed == said


@pytest.fixture
def customer() -> Customer:
    return new_customer(name="Acme")


@pytest.fixture
def owner(customer: Customer) -> User:
    return member(customer)


def write(customer: Customer, action: str, actor: str = "system:test", **entry: Any) -> None:
    with tenant_scope(customer.tenant_id):
        record(actor=actor, action=action, **entry)


def page_of(browser: Client, customer: Customer, query: str = "", status: int = 200) -> str:
    answer = browser.get(f"/t/{customer.slug}/audit/{query}")
    assert answer.status_code == status
    return answer.content.decode()


def seqs(page: str) -> list[int]:
    """The numbers of the entries on the page, in its order."""
    return [int(seq) for seq in re.findall(r'text-end text-secondary">(\d+)<', page)]


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_no_entry_is_shown_as_a_code(customer: Customer, owner: User, language: str) -> None:
    for action in ACTS:
        write(customer, action, target="job")
    browser = browser_of(owner)
    browser.cookies["django_language"] = language
    page = page_of(browser, customer)
    assert [action for action in ACTS if action in page] == []
    with translation.override(language), tenant_scope(customer.tenant_id):
        words = [told(each, {}) for each in AuditEntry.objects.all()]
    assert len({re.sub("–", "", each) for each in words}) >= len(ACTS) - 1
    assert not any("%" in each for each in words)


def test_what_an_entry_knows_is_said(customer: Customer, owner: User) -> None:
    anna = Actor.person("anna@a.example", owner.pk).at("203.0.113.7")
    change = {"role": "admin", "before": "viewer"}
    write(customer, "member.change", anna, target="ben@a.example", data=change)
    guesses = {"attempts": 12, "networks": ["192.0.2.1", "192.0.2.2"], "more_networks": 3}
    write(customer, "sign_in.failed", target="anna@a.example", data=guesses)
    page = page_of(browser_of(owner), customer)
    assert "Changed the role of ben@a.example from viewer to admin" in page
    assert "203.0.113.7" in page
    told = "Wrong passwords for anna@a.example: 12, from 192.0.2.1, 192.0.2.2 and 3 more"
    assert told in page
    browser = browser_of(owner)
    browser.cookies["django_language"] = "zh-hans"
    assert "将 ben@a.example 的角色从查看者改为管理员" in page_of(browser, customer)


@pytest.mark.parametrize("role", list(Role))
def test_whoever_the_table_lets_read_it_reads_it_and_nobody_else(
    customer: Customer, role: Role, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = browser_of(member(customer, role))
    page_of(browser, customer, status=200 if Scope.TENANT_READ in ROLE_SCOPES[role] else 403)
    monkeypatch.setitem(ROLE_SCOPES, role, ROLE_SCOPES[role] - {Scope.TENANT_READ})
    page_of(browser, customer, status=403)
    page_of(browser, customer, "export", status=403)
    page_of(browser_of(member(new_customer())), customer, status=404)


def test_another_organisations_entries_are_never_shown(customer: Customer, owner: User) -> None:
    neighbour = new_customer()
    write(neighbour, "job.create", target="ftjob-of-the-neighbour")
    write(customer, "job.create", target="ftjob-of-ours")
    browser = browser_of(owner)
    mine = authenticate_key(customer.key).key_id
    for query in ("", "?kind=jobs", "?who=system", f"?who=key:{mine}"):
        page = page_of(browser, customer, query)
        assert "of-the-neighbour" not in page
    with tenant_scope(customer.tenant_id):
        AuditHead.objects.create(seq=9999)  # nothing here signs one, and none is waited for
    whole = b"".join(browser.get(f"/t/{customer.slug}/audit/export"))
    assert b"of-ours" in whole
    assert b"of-the-neighbour" not in whole
    assert json.loads(whole.splitlines()[-1])["type"] == "end"


def test_entries_are_found_by_who_what_and_when(customer: Customer, owner: User) -> None:
    browser, key = browser_of(owner), authenticate_key(customer.key)
    gone = member(new_customer())
    write(customer, "job.create", Actor.person(owner.email, owner.pk), target="by-owner")
    write(customer, "job.cancel", key.actor, target="by-key")
    write(customer, "file.create", Actor.person(gone.email, gone.pk), target="by-gone")
    write(customer, "operator.read", Actor.operator("staff"), target="job")

    def shown(query: str) -> set[str]:
        page = page_of(browser, customer, query)
        return {name for name in ("by-owner", "by-key", "by-gone", "by support") if name in page}

    assert shown("") == {"by-owner", "by-key", "by-gone", "by support"}
    assert shown(f"?who=person:{owner.pk}") == {"by-owner"}
    assert shown(f"?who=key:{key.key_id}") == {"by-key"}
    assert shown(f"?who=person:{gone.pk}") == {"by-gone"}
    assert f"selected>{gone.email}" in page_of(browser, customer, f"?who=person:{gone.pk}")
    assert shown("?who=operator") == {"by support"}
    assert shown("?kind=jobs") == {"by-owner", "by-key"}
    assert shown(f"?kind=jobs&who=key:{key.key_id}") == {"by-key"}
    assert shown("?last=9999-12-31") == shown("")
    for none in ("?first=9999-12-31", "?last=0001-01-01"):
        assert shown(none) == set()
    for wrong in ("?who=nobody", "?kind=x", "?first=tomorrow", "?before=0", "?before=9" + "9" * 30):
        assert seqs(page_of(browser, customer, wrong, status=400)) == []


def test_days_and_times_are_those_of_the_readers_zone(customer: Customer, owner: User) -> None:
    browser = browser_of(owner)
    at = timezone.now().replace(year=2026, month=3, day=1, hour=20, minute=5, second=0)
    with tenant_scope(customer.tenant_id):
        newest = AuditEntry.objects.latest("seq")
        moved = AuditEntry.objects.create(
            seq=newest.seq + 1, action="job.create", at=at.isoformat()
        )
    with tenant_scope(customer.tenant_id), pytest.MonkeyPatch.context() as clock:
        clock.setattr("django.utils.timezone.now", lambda: at)
        moved = AuditEntry.objects.create(
            seq=newest.seq + 2, action="job.pause", target="then", at=at.isoformat()
        )
    assert "2026-03-01 20:05:00" in page_of(browser, customer)
    browser.cookies["zone"] = "Asia%2FShanghai"
    page = page_of(browser, customer, "?first=2026-03-02&last=2026-03-02")
    assert seqs(page) == [moved.seq]
    assert "2026-03-02 04:05:00" in page
    assert "Asia/Shanghai" in page
    assert seqs(page_of(browser, customer, "?first=2026-03-01&last=2026-03-01")) == []
    browser.cookies["zone"] = "../../etc/passwd"
    assert "Time (UTC)" in page_of(browser, customer)


def test_a_long_log_is_read_page_by_page_without_a_gap(customer: Customer, owner: User) -> None:
    for number in range(120):
        write(customer, "job.create", target=f"job-{number}")
    browser, query, pages = browser_of(owner), "?kind=jobs", []
    while query:
        page = page_of(browser, customer, query)
        pages.append(seqs(page))
        older = re.search(r'href="(\?[^"]*before=[^"]*)"', page)
        query = older[1].replace("&amp;", "&") if older else ""
    found = [seq for page in pages for seq in page]
    assert [len(page) for page in pages] == [50, 50, 20]
    assert found == sorted(set(found), reverse=True)
