"""The operator's commands, on a real database."""

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def operate(run: Run) -> Any:
    """Runs a command that must succeed and returns its JSON."""

    def call(*words: str) -> Any:
        done = run(*words, "--json")
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return call


@pytest.fixture
def slug() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def model(operate: Any, tiny_base: Path) -> str:
    name = f"tiny-{uuid.uuid4().hex[:8]}"
    operate("models", "import", str(tiny_base), "--name", name, "--licence", "Apache-2.0")
    return name


def test_a_tenant_gets_a_key_that_works_and_an_owner_who_may_sign_in(
    operate: Any, slug: str
) -> None:
    from tenants.access import authenticate_key
    from tenants.models import User

    made = operate("tenant", "create", slug, "--name", "Acme", "--owner", f"{slug}@example.org")
    assert (made["tenant"], made["name"]) == (slug, "Acme")
    user = User.objects.get(email=f"{slug}@example.org")
    assert user.check_password(made["login"]["password"])
    key = operate("key", "create", "--tenant", slug, "--scope", "files:read", "--days", "3")
    principal = authenticate_key(key["api_key"])
    assert str(principal.tenant_id) == made["id"]
    assert key["scopes"] == ["files:read"]


@pytest.mark.parametrize("words", [("up",), ("keys", "register")])
def test_a_data_folder_without_a_name_is_not_the_one_that_one_stands_in(
    run: Run, words: tuple[str, ...]
) -> None:
    done = run(*words, "--data", "")
    assert done.exit_code == Exit.USAGE
    assert "name is empty" in done.output


def test_a_tenant_whose_owner_is_refused_is_not_made(run: Run, operate: Any, slug: str) -> None:
    email = f"{slug}@example.org"
    operate("tenant", "create", slug, "--owner", email)
    other = f"{slug}-b"
    for owner, says in ((email, "There is a user"), ("notmail", "is no e-mail address")):
        refused = run("tenant", "create", other, "--owner", owner)
        assert refused.exit_code == Exit.DATA
        assert says in refused.output
    assert operate("tenant", "create", other, "--owner", f"{other}@example.org")["tenant"] == other


def test_a_licence_that_is_over_before_it_begins_is_refused(
    run: Run, operate: Any, slug: str, model: str
) -> None:
    operate("tenant", "create", slug)
    words = ("license", "issue", "--tenant", slug, "--model", model, "--valid-until", "2020-01-01")
    refused = run(*words)
    assert refused.exit_code == Exit.DATA
    assert "before it begins" in refused.output


def test_lost_access_comes_back_with_a_fresh_password(operate: Any, slug: str) -> None:
    from tenants.models import User

    email = f"{slug}@example.org"
    made = operate("tenant", "create", slug, "--owner", email)
    login = operate("user", "reset", email, "--second-factor")["login"]
    user = User.objects.get(email=email)
    assert user.check_password(login["password"])
    assert not user.check_password(made["login"]["password"])


def test_a_licence_is_issued_shown_and_revoked(operate: Any, slug: str, model: str) -> None:
    operate("tenant", "create", slug)
    issued = operate(
        "license", "issue", "--tenant", slug, "--model", model, "--right", "train",
        "--right", "serve", "--valid-until", "2031-12-31", "--token-budget", "5000",
    )  # fmt: skip
    assert issued["rights"] == ["train", "serve"]
    assert issued["valid_until"] == "2032-01-01T00:00:00+00:00"  # the whole last day counts
    [shown] = operate("license", "show", "--tenant", slug)["data"]
    assert (shown["state"], shown["tokens_left"]) == ("active", 5000)
    assert operate("license", "revoke", "--tenant", slug, "--model", model)["state"] == "revoked"
    [after] = operate("license", "show", "--tenant", slug)["data"]
    assert after["state"] == "revoked"


def test_an_imported_model_is_in_the_list(operate: Any, model: str) -> None:
    listed = {row["name"]: row for row in operate("models", "list")["data"]}
    assert listed[model]["licence"] == "Apache-2.0"
    assert listed[model]["digest"].startswith("sha256:")


def test_a_base_is_described_retired_and_restored(
    run: Run, operate: Any, model: str, tmp_path: Path
) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("Not for war.\n")
    described = operate("models", "describe", model, "--task", "code", "--terms", str(terms))
    assert (described["task"], described["licence"]) == ("code", "Apache-2.0")
    assert operate("models", "retire", model)["state"] == "retired"
    assert operate("models", "restore", model)["state"] == "on the shelf"
    terms.write_bytes(b"\xff\xfe")
    refused = run("models", "describe", model, "--terms", str(terms))
    assert (refused.exit_code, "not text in UTF-8" in refused.output) == (Exit.DATA, True)


def test_limits_of_its_own_are_given_shown_and_taken_back(operate: Any, slug: str) -> None:
    from tenants.database.scope import tenant_scope
    from tenants.models import AuditEntry
    from tenants.services.tenants import find_tenant

    operate("tenant", "create", slug)
    usual = operate("tenant", "limits", slug)
    assert usual["own"] == []
    given = operate("tenant", "limits", slug, "--storage-mb", "7", "--tokens", "900")
    assert (given["storage_mb"], given["tokens"]) == (7, 900)
    assert (given["requests"], given["own"]) == (usual["requests"], ["storage_mb", "tokens"])
    assert operate("tenant", "limits", slug, "--storage-mb", "default")["own"] == ["tokens"]
    with tenant_scope(find_tenant(slug=slug)):
        first, second = AuditEntry.objects.filter(action="tenant.limits").order_by("seq")
    assert first.data["storage_mb"] == {"from": None, "to": 7}
    assert second.data == {"storage_mb": {"from": 7, "to": None}}
    assert first.actor.startswith("operator:")


@pytest.mark.parametrize(
    ("words", "exit_code", "says"),
    [
        (("tenant", "create", "No Good"), Exit.DATA, "no usable short name"),
        (("user", "reset", "nobody@nowhere.example"), Exit.NOT_FOUND, "no account"),
        (("key", "create", "--tenant", "nobody"), Exit.NOT_FOUND, "no tenant 'nobody'"),
        (("license", "show", "--tenant", "nobody"), Exit.NOT_FOUND, "privatune tenant create"),
        (("tenant", "limits", "nobody", "--storage-mb", "0"), Exit.NOT_FOUND, "no tenant"),
        (("models", "import", "/nowhere/at/all"), Exit.DATA, "/nowhere/at/all"),
        (("models", "retire", "none-such"), Exit.NOT_FOUND, "privatune models list"),
    ],
)
def test_a_refusal_says_what_and_how_to_mend_it(
    run: Run, words: tuple[str, ...], exit_code: Exit, says: str
) -> None:
    done = run(*words)
    assert done.exit_code == exit_code, done.output
    assert says in done.stderr
    assert "Fix:" in done.stderr
    assert "Traceback" not in done.output


def test_a_licence_for_an_unknown_model_is_refused(run: Run, operate: Any, slug: str) -> None:
    operate("tenant", "create", slug)
    done = run("license", "issue", "--tenant", slug, "--model", "no-such-model")
    assert (done.exit_code, "privatune models list" in done.stderr) == (Exit.NOT_FOUND, True)


def test_tables_are_for_people(run: Run, operate: Any, slug: str, model: str) -> None:
    operate("tenant", "create", slug)
    done = run("license", "issue", "--tenant", slug, "--model", model)
    assert "train export serve" in done.stdout
    shown = run("license", "show", "--tenant", slug, env={"COLUMNS": "40"})
    assert model in shown.stdout, "a cut identifier opens nothing"
    assert "…" not in shown.stdout


def test_a_tenant_is_destroyed_only_by_its_name_and_the_certificate_is_checked_offline(
    run: Run, operate: Any, slug: str, tmp_path: Path
) -> None:
    from tenants.access import authenticate_key
    from tenants.errors import TenantGone

    operate("tenant", "create", slug)
    key = operate("key", "create", "--tenant", slug)["api_key"]
    looked = operate("tenant", "shred", slug)
    assert (looked["dry_run"], looked["api_keys"]) == (True, 1)
    assert run("tenant", "shred", slug, "--confirm", f"{slug}x").exit_code == Exit.USAGE
    assert authenticate_key(key)

    paper = tmp_path / "certificate.json"
    signed = operate("tenant", "shred", slug, "--confirm", slug, "--certificate", str(paper))
    assert (signed["slug"], signed["destroyed"]["api_keys"]) == (slug, 1)
    with pytest.raises(TenantGone):
        authenticate_key(key)
    checked = run("verify-certificate", str(paper), "--fingerprint", signed["signer"])
    assert checked.exit_code == 0, checked.output
    paper.write_text(paper.read_text().replace(signed["tenant"], str(uuid.uuid4())))
    forged = run("verify-certificate", str(paper))
    assert (forged.exit_code, "does not fit" in forged.output) == (Exit.FAILED, True)


def test_what_work_waits_for_is_told_with_how_much(
    run: Run, operate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    from finetune.work import held_up

    told = held_up.HeldUp("run", "storage_full", "The storage is full.", 3, datetime.now(UTC))
    monkeypatch.setattr(held_up, "held_up", lambda: [told])
    (row,) = operate("waiting")["data"]
    assert (row["code"], row["count"], row["kind"]) == ("storage_full", 3, "run")
    assert "The storage is full." in run("waiting").stdout
