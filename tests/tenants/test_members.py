"""People and keys do no more than they may, and give no more than they have: every door is tried
as the hostile colleague, the hostile neighbour and the key that got out."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from tenants.access import Principal, authenticate_key, still_allowed
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, Invalid, NotAuthenticated, NotFound, Refused
from tenants.models import ApiKey, AuditEntry, Invitation, Membership, Upload, User
from tenants.roles import GIVES, ROLE_SCOPES, Role, Scope
from tenants.services import invitations
from tenants.services.invitations import (
    accept_invitation,
    find_offer,
    invite,
    revoke_invitation,
)
from tenants.services.key_changes import change_key
from tenants.services.key_use import admit_key
from tenants.services.keys import make_key, revoke_key, rotate_key
from tenants.services.members import change_role, remove_member
from tenants.services.people import begin_account, create_user
from tenants.services.tenants import create_key
from tenants.services.uploads import create_upload
from tests.finetune.api.customers import Customer, new_customer, new_member, principal_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def customer() -> Customer:
    return new_customer()


@pytest.fixture
def owner(customer: Customer) -> Principal:
    return new_member(customer)[1]


def member_id(customer: Customer, user: User) -> uuid.UUID:
    with tenant_scope(customer.tenant_id):
        return Membership.objects.get(user=user).id


def key_of(by: Principal, *scopes: str, **options: Any) -> str:
    with tenant_scope(by.tenant_id):
        return make_key(by=by, name="k", scopes=scopes or None, **options)[1]


def invited(by: Principal, email: str, role: Role = Role.ENGINEER, mailed: bool = True) -> str:
    with tenant_scope(by.tenant_id):
        return invite(by=by, email=email, role=role, deliver=lambda *_: mailed)[1]


def actions(customer: Customer) -> list[str]:
    with tenant_scope(customer.tenant_id):
        return list(AuditEntry.objects.order_by("seq").values_list("action", flat=True))


# --- Invitations ----------------------------------------------------------------------------------


def test_an_invitation_makes_a_member_once_and_only_the_invited(
    customer: Customer, owner: Principal
) -> None:
    invitee, stranger = (create_user(email=f"{n}@b.example", password=None) for n in "is")
    token = invited(owner, "I@B.example")
    with pytest.raises(Refused, match=r"is for i@b\.example"):
        accept_invitation(token=token, user=stranger)
    assert accept_invitation(token=token, user=invitee).role == Role.ENGINEER
    with pytest.raises(NotFound):
        accept_invitation(token=token, user=invitee)
    assert actions(customer)[-2:] == ["invitation.create", "member.join"]
    with tenant_scope(customer.tenant_id):
        joined = AuditEntry.objects.get(action="member.join")
        assert joined.user_id == invitee.id


def test_inviting_adds_nobody_makes_no_account_and_says_nothing_about_one(
    customer: Customer, owner: Principal
) -> None:
    """Attack 4: a tenant added another's engineer without asking."""
    engineer, home = new_member(new_customer(), Role.ENGINEER)
    before = User.objects.count()
    headers = {"Authorization": f"Bearer {key_of(owner)}"}
    answers = []
    for email in (engineer.email, f"{uuid.uuid4().hex}@work.example"):
        answer = Client().post(
            "/api/v1/invitations",
            {"email": email, "role": "viewer"},
            content_type="application/json",
            headers=headers,
        )
        assert answer.status_code == 200
        answers.append(
            answer.json() | {"id": "", "email": "", "link": "", "expires_at": "", "created_at": ""}
        )
    assert answers[0] == answers[1]
    assert User.objects.count() == before
    assert still_allowed(home)
    with tenant_scope(customer.tenant_id):
        assert not Membership.objects.filter(user=engineer).exists()
    direct = Client().post(
        "/api/v1/members",
        {"email": engineer.email, "role": "viewer"},
        content_type="application/json",
        headers=headers,
    )
    assert direct.status_code == 405


def test_an_address_that_was_never_shown_to_be_ones_own_opens_nothing(
    customer: Customer, owner: Principal
) -> None:
    """Attack 1: a viewer of another tenant had made the stranger's address the account's own."""
    thief = create_user(email="thief@a.example", password=None)
    EmailAddress.objects.filter(user=thief).update(primary=False)
    EmailAddress.objects.create(user=thief, email="ceo@b.example", primary=True, verified=False)
    User.objects.filter(id=thief.id).update(email="ceo@b.example")
    thief.refresh_from_db()
    with pytest.raises(Refused):
        accept_invitation(token=invited(owner, "ceo@b.example", Role.OWNER), user=thief)
    with tenant_scope(customer.tenant_id):
        assert not Membership.objects.filter(user=thief).exists()


def test_an_account_begun_with_anothers_address_goes_to_whoever_reads_the_mailbox(
    owner: Principal,
) -> None:
    squatter_password, own_password = "squatters own words", "the real owners words"
    squatter = begin_account(email="x@b.example", password=squatter_password, proven=False)
    token = invited(owner, "x@b.example")
    with pytest.raises(Refused):
        accept_invitation(token=token, user=squatter)
    person = begin_account(email="x@b.example", password=own_password, proven=True)
    assert person.id == squatter.id
    assert person.check_password(own_password)
    accept_invitation(token=token, user=person)
    with pytest.raises(Conflict):  # now it is proven, and no later token takes it
        begin_account(email="x@b.example", password=squatter_password, proven=True)
    with pytest.raises(Invalid):
        begin_account(email="y@b.example", password="short", proven=True)


def test_nobody_mails_the_world_by_withdrawing_again(
    customer: Customer, owner: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(invitations, "MOST_A_DAY", 12)
    with tenant_scope(customer.tenant_id):
        for number in range(12):
            to = "often@b.example" if number < 10 else f"{number}@b.example"
            made, _ = invite(by=owner, email=to, role=Role.VIEWER)
            revoke_invitation(invitation_id=made.id, by=owner)
            if number == 9:
                with pytest.raises(Conflict, match="10 invitations a day go to one address"):
                    invite(by=owner, email=to, role=Role.VIEWER)
        with pytest.raises(Conflict, match="12 in all"):
            invite(by=owner, email="another@b.example", role=Role.VIEWER)


@pytest.mark.parametrize("end", ["revoked", "expired", "replaced", "inviter removed", "demoted"])
def test_an_invitation_that_ended_lets_nobody_in(
    customer: Customer, owner: Principal, end: str
) -> None:
    admin_user, admin = new_member(customer, Role.ADMIN)
    person = create_user(email="p@b.example", password=None)
    token = invited(admin, person.email)
    with tenant_scope(customer.tenant_id):
        found = Invitation.objects.get()
        if end == "revoked":
            revoke_invitation(invitation_id=found.id, by=owner)
        elif end == "expired":
            Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    if end == "replaced":
        invited(owner, person.email)
    with tenant_scope(customer.tenant_id):
        if end == "inviter removed":
            remove_member(member_id=member_id(customer, admin_user), by=owner)
        elif end == "demoted":
            change_role(member_id=member_id(customer, admin_user), role=Role.VIEWER, by=owner)
    with pytest.raises((NotFound, Refused)):
        accept_invitation(token=token, user=person)


def test_a_member_is_not_invited_and_accepting_changes_no_members_role(
    customer: Customer, owner: Principal
) -> None:
    user, _ = new_member(customer, Role.VIEWER)
    with pytest.raises(Conflict):
        invited(owner, user.email)
    person = create_user(email="q@b.example", password=None)
    token = invited(owner, person.email, Role.VIEWER)
    with tenant_scope(customer.tenant_id):
        Membership.objects.create(user=person, role=Role.OWNER)
    with pytest.raises(Conflict):
        accept_invitation(token=token, user=person)
    assert principal_of(person, customer).role == Role.OWNER


def test_a_token_is_kept_nowhere_and_a_guess_finds_nothing(
    customer: Customer, owner: Principal
) -> None:
    token = invited(owner, "r@b.example")
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('privatune.tenant', %s, true)", [str(owner.tenant_id)])
        cursor.execute("SELECT string_agg(i::text, ' ') FROM tenants_invitation i")
        assert token not in cursor.fetchone()[0]
    assert find_offer(token=token).email == "r@b.example"
    for guess in ("", token[:-1], token.upper()):
        with pytest.raises(NotFound):
            find_offer(token=guess)


# --- Who may give and touch what ------------------------------------------------------------------


@pytest.mark.parametrize("actor", Role)
@pytest.mark.parametrize("target", Role)
def test_roles_are_given_and_touched_as_the_table_says(
    customer: Customer, owner: Principal, actor: Role, target: Role
) -> None:
    """By the person and by that person's key alike."""
    _, person = new_member(customer, actor)
    user, _ = new_member(customer, target)
    other, _ = new_member(customer, Role.VIEWER)
    key = authenticate_key(key_of(person))
    for by in (person, key):
        attempts: list[Callable[[], Any]] = [
            lambda by=by: invite(by=by, email="n@b.example", role=target),
            lambda by=by: change_role(member_id=member_id(customer, other), role=target, by=by),
            lambda by=by: change_role(member_id=member_id(customer, user), role=Role.VIEWER, by=by),
            lambda by=by: remove_member(member_id=member_id(customer, user), by=by),
        ]
        for attempt in attempts:
            with tenant_scope(customer.tenant_id):
                if target in GIVES[actor]:
                    with transaction.atomic():
                        attempt()
                        transaction.set_rollback(True)
                else:
                    with pytest.raises(Refused):
                        attempt()


def test_a_key_with_only_tenant_write_makes_and_removes_nobody_beyond_it(
    customer: Customer, owner: Principal
) -> None:
    """Attack 8: such a key made an owner, and removed the first one."""
    user, _ = new_member(customer, Role.OWNER)
    service = authenticate_key(
        create_key(tenant_id=customer.tenant_id, name="s", actor="t", scopes=["tenant:write"])[1]
    )
    own = authenticate_key(key_of(owner, "tenant:write"))
    with tenant_scope(customer.tenant_id):
        for by in (service, own):
            for role in Role:  # every role holds scopes that the key lacks
                with pytest.raises(Refused):
                    invite(by=by, email="n@b.example", role=role)
                with pytest.raises(Refused):
                    change_role(member_id=member_id(customer, user), role=role, by=by)
        with pytest.raises(Refused):
            remove_member(member_id=member_id(customer, user), by=service)
        with pytest.raises(Refused):
            make_key(by=service, name="more")
        with pytest.raises(Refused):
            make_key(by=own, name="more", scopes=["infer"])


def test_an_admins_key_touches_no_owner_whatever_its_scopes(
    customer: Customer, owner: Principal
) -> None:
    _, admin = new_member(customer, Role.ADMIN)
    user, _ = new_member(customer, Role.OWNER)
    for by in (admin, authenticate_key(key_of(admin)), authenticate_key(customer.key)):
        with tenant_scope(customer.tenant_id):
            for attempt in (
                lambda by=by: invite(by=by, email="n@b.example", role=Role.OWNER),
                lambda by=by: remove_member(member_id=member_id(customer, user), by=by),
                lambda by=by: change_role(
                    member_id=member_id(customer, user), role=Role.VIEWER, by=by
                ),
            ):
                with pytest.raises(Refused, match="owner"):
                    attempt()


def test_the_last_owner_stays_and_everybody_else_may_leave(
    customer: Customer, owner: Principal
) -> None:
    viewer_user, viewer = new_member(customer, Role.VIEWER)
    assert owner.membership_id is not None
    with tenant_scope(customer.tenant_id):
        with pytest.raises(Refused, match="only owner"):
            remove_member(member_id=owner.membership_id, by=owner)
        with pytest.raises(Refused, match="only owner"):
            change_role(member_id=owner.membership_id, role=Role.ADMIN, by=owner)
        remove_member(member_id=member_id(customer, viewer_user), by=viewer)
        assert Membership.objects.count() == 1


# --- Removing ends everything ---------------------------------------------------------------------


def test_removing_a_member_ends_keys_invitations_and_uploads_at_once(
    customer: Customer, owner: Principal
) -> None:
    user, admin = new_member(customer, Role.ADMIN)
    secret = key_of(admin)
    key = authenticate_key(secret)
    token = invited(key, "n@b.example")
    with tenant_scope(customer.tenant_id):
        for actor in (admin.actor, key.actor, owner.actor):
            create_upload(
                filename="a", purpose="fine-tune", bytes=9, mime_type="b", life=None, limit=9,
                actor=actor,
            )  # fmt: skip
    assert still_allowed(admin, Scope.JOBS_READ)
    assert still_allowed(key, Scope.JOBS_READ)
    with tenant_scope(customer.tenant_id):
        remove_member(member_id=member_id(customer, user), by=owner)
        assert list(Upload.objects.filter(status="pending").values_list("user_id", flat=True)) == [
            owner.user_id
        ]
    assert not still_allowed(admin)
    assert not still_allowed(key)
    with pytest.raises(NotAuthenticated):
        authenticate_key(secret)
    with pytest.raises(NotFound):
        find_offer(token=token)
    assert {"key.revoke", "invitation.revoke", "upload.cancel"} <= set(actions(customer))


def test_a_lower_role_limits_the_keys_at_once(customer: Customer, owner: Principal) -> None:
    user, engineer = new_member(customer, Role.ENGINEER)
    secret = key_of(engineer)
    before = authenticate_key(secret)
    assert Scope.JOBS_WRITE in before.scopes
    with tenant_scope(customer.tenant_id):
        change_role(member_id=member_id(customer, user), role=Role.VIEWER, by=owner)
    assert authenticate_key(secret).scopes == ROLE_SCOPES[Role.VIEWER]
    assert not still_allowed(before, Scope.JOBS_WRITE)
    assert still_allowed(before, Scope.JOBS_READ)
    assert not still_allowed(engineer, Scope.JOBS_WRITE)
    User.objects.filter(id=user.id).update(is_active=False)
    assert not still_allowed(before)


# --- Keys -----------------------------------------------------------------------------------------


def test_service_keys_are_made_and_rotated_by_owners_only(
    customer: Customer, owner: Principal
) -> None:
    _, admin = new_member(customer, Role.ADMIN)
    with tenant_scope(customer.tenant_id):
        key, secret = make_key(by=owner, name="ci", scopes=["infer"], service=True)
        for by in (admin, authenticate_key(key_of(admin)), authenticate_key(customer.key)):
            with pytest.raises(Refused):
                make_key(by=by, name="ci", scopes=["infer"], service=True)
            with pytest.raises(Refused):
                rotate_key(by=by, key_id=key.id)
        revoke_key(by=admin, key_id=key.id)
    with pytest.raises(NotAuthenticated):
        authenticate_key(secret)


def test_a_rotated_key_has_two_secrets_for_a_while(customer: Customer, owner: Principal) -> None:
    with tenant_scope(customer.tenant_id):
        key, first = make_key(by=owner, name="ci")
        _, second = rotate_key(by=owner, key_id=key.id, overlap=timedelta(hours=1))
        assert authenticate_key(first).key_id == authenticate_key(second).key_id == key.id
        assert Scope.TENANT_WRITE in authenticate_key(second).scopes
        with pytest.raises(Refused):  # whoever stole the old one does not come back by it
            rotate_key(by=authenticate_key(first), key_id=key.id, overlap=timedelta(0))
        _, third = rotate_key(by=owner, key_id=key.id, overlap=timedelta(hours=1))
        with pytest.raises(NotAuthenticated):
            authenticate_key(first)
        ApiKey.objects.filter(id=key.id).update(previous_until=timezone.now())
        with pytest.raises(NotAuthenticated):
            authenticate_key(second)
        assert authenticate_key(third)
        revoke_key(by=owner, key_id=key.id)
        with pytest.raises(NotAuthenticated):
            authenticate_key(third)
        with pytest.raises(Conflict):
            rotate_key(by=owner, key_id=key.id)


def test_nobody_gets_the_secret_of_anothers_key(customer: Customer, owner: Principal) -> None:
    """Nor does a narrow key get the secret of a wide one of the same member."""
    _, admin = new_member(customer, Role.ADMIN)
    with tenant_scope(customer.tenant_id):
        theirs, _ = make_key(by=admin, name="theirs", scopes=["infer"])
        wide, _ = make_key(by=owner, name="wide")
        with pytest.raises(Refused):
            rotate_key(by=owner, key_id=theirs.id)
        with pytest.raises(Refused):
            rotate_key(by=authenticate_key(key_of(owner, "tenant:write")), key_id=wide.id)
        with pytest.raises(Refused):
            revoke_key(by=admin, key_id=wide.id)  # an owner's


def test_a_key_makes_none_that_outlives_it_or_works_from_elsewhere(
    customer: Customer, owner: Principal
) -> None:
    soon = timezone.now() + timedelta(days=1)
    ends = authenticate_key(key_of(owner, expires_at=soon))
    placed = authenticate_key(key_of(owner, allowed_addresses=["10.0.0.0/8"]))
    with tenant_scope(customer.tenant_id):
        for by, options in (
            (ends, {}),
            (ends, {"expires_at": soon + timedelta(seconds=1)}),
            (placed, {}),
            (placed, {"allowed_addresses": ["11.0.0.0/24"]}),
        ):
            with pytest.raises(Refused):
                make_key(by=by, name="wider", **options)
        make_key(by=ends, name="ok", expires_at=soon)
        make_key(by=placed, name="ok", allowed_addresses=["10.1.0.0/16"])
        with pytest.raises(Invalid):
            make_key(by=owner, name="typo", allowed_addresses=["10.0.0.1/8"])


def line_of(owner: Principal, length: int = 3) -> list[tuple[ApiKey, str]]:
    """Keys of which each made the next."""
    made: list[tuple[ApiKey, str]] = []
    by = owner
    with tenant_scope(owner.tenant_id):
        for number in range(length):
            made.append(make_key(by=by, name=f"line {number}"))
            by = authenticate_key(made[-1][1])
    return made


def lives(secret: str) -> bool:
    try:
        authenticate_key(secret)
    except NotAuthenticated:
        return False
    return True


def test_a_key_ends_with_the_key_that_made_it_and_the_log_says_so(
    customer: Customer, owner: Principal
) -> None:
    """The thief of a key made himself another; both end with the first, whatever the depth."""
    (first, root), (second, child), (third, grandchild) = line_of(owner)
    streaming = authenticate_key(grandchild)
    token = invited(streaming, "thief@b.example")
    with tenant_scope(customer.tenant_id):
        rotated = rotate_key(by=owner, key_id=first.id)[1]
        assert lives(grandchild), "the rotation of a key keeps what it made"
        _, ended = revoke_key(by=owner, key_id=first.id)
        assert ended == [second, third]
        assert revoke_key(by=owner, key_id=first.id)[1] == []
        told = AuditEntry.objects.filter(action="key.revoke").order_by("seq")
        assert [(each.target, each.data.get("made_with")) for each in told] == [
            (first.prefix, None), (second.prefix, first.prefix), (third.prefix, first.prefix),
        ]  # fmt: skip
    assert not any(map(lives, (root, rotated, child, grandchild)))
    assert not still_allowed(streaming)
    with pytest.raises(NotFound):
        find_offer(token=token)


def test_removing_a_member_ends_the_service_keys_that_his_keys_made(
    customer: Customer, owner: Principal
) -> None:
    """Those that he made in person stay; they are shown to whoever follows him."""
    leaver, leaving = new_member(customer)
    by_key = authenticate_key(key_of(leaving))
    with tenant_scope(customer.tenant_id):
        left = make_key(by=by_key, name="by key", service=True)[1]
        stays = make_key(by=leaving, name="in person", service=True)[1]
        remove_member(member_id=member_id(customer, leaver), by=owner)
        assert AuditEntry.objects.filter(action="key.revoke").count() == 2
    assert (lives(left), lives(stays)) == (False, True)


def test_a_key_is_asked_about_with_its_whole_line_at_each_use(
    customer: Customer, owner: Principal
) -> None:
    """Whatever the rows of the later keys say: here they are as an older release left them."""
    (first, _), (_, child), (third, grandchild) = line_of(owner)
    with tenant_scope(customer.tenant_id):
        ApiKey.objects.filter(id=first.id).update(allowed_addresses=["10.0.0.0/8"])
        ApiKey.objects.filter(id=third.id).update(allowed_addresses=["10.1.0.0/16", "11.0.0.0/8"])
    for address, secret, allowed in (
        ("10.1.2.3", grandchild, True), ("10.2.0.1", grandchild, False),
        ("11.0.0.1", grandchild, False), ("10.2.0.1", child, True), ("11.0.0.1", child, False),
    ):  # fmt: skip
        if allowed:
            admit_key(secret=secret, address=address)
        else:
            with pytest.raises(Refused, match="may not be used from"):
                admit_key(secret=secret, address=address)
    with tenant_scope(customer.tenant_id):
        ApiKey.objects.filter(id=first.id).update(expires_at=timezone.now())
    assert not lives(grandchild)
    with tenant_scope(customer.tenant_id), pytest.raises(Conflict):
        rotate_key(by=owner, key_id=third.id)


def test_a_line_of_keys_has_an_end(owner: Principal) -> None:
    with pytest.raises(Refused, match="the 10th of a line"):
        line_of(owner, 11)


def test_a_key_rotates_itself_and_what_it_made_and_no_other(
    customer: Customer, owner: Principal
) -> None:
    """Else whoever holds it would keep a secret of its maker, or of its sister, beyond its end."""
    (first, root), (second, child), (third, _) = line_of(owner)
    sister = key_of(owner)
    with tenant_scope(customer.tenant_id):
        for secret in (child, sister):
            with pytest.raises(Refused, match="keys that it made"):
                rotate_key(by=authenticate_key(secret), key_id=first.id)
        for key in (third, second, first):
            assert rotate_key(by=authenticate_key(root), key_id=key.id)


def test_a_key_in_use_is_changed_and_its_line_ends_no_later(
    customer: Customer, owner: Principal
) -> None:
    (first, root), (second, child), _ = line_of(owner)
    soon, later = (timezone.now() + timedelta(days=days) for days in (1, 9))
    with tenant_scope(customer.tenant_id):
        changed = change_key(
            by=owner,
            key_id=first.id,
            changes={"name": " ci ", "expires_at": soon, "allowed_addresses": ["10.0.0.0/8"]},
        )
        assert (changed.name, changed.expires_at) == ("ci", soon)
        assert [each.expires_at for each in ApiKey.objects.filter(made_with__isnull=False)] == [
            soon, soon,
        ]  # fmt: skip
        assert authenticate_key(root).scopes == authenticate_key(child).scopes == owner.scopes
        entry = AuditEntry.objects.get(action="key.change")
        change_key(by=owner, key_id=second.id, changes={"allowed_addresses": ["10.1.0.0/16"]})
        for wider in ({"expires_at": later}, {"expires_at": None}, {"allowed_addresses": []}):
            with pytest.raises(Refused):  # even by an owner: it is the line that bounds it
                change_key(by=owner, key_id=second.id, changes=wider)  # type: ignore[arg-type]
        assert entry.data["name"] == ["line 0", "ci"]
        assert entry.data["expires_at"] == [None, soon.isoformat()]
        assert entry.data["allowed_addresses"] == [[], ["10.0.0.0/8"]]
        assert len(entry.data["shortened"]) == 2
        assert change_key(by=owner, key_id=first.id, changes={}).name == "ci"
        assert AuditEntry.objects.filter(action="key.change").count() == 2, "nothing changed"
        assert change_key(by=owner, key_id=first.id, changes={"expires_at": later}).name == "ci"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"name": " "}, Invalid),
        ({"name": "x" * 81}, Invalid),
        ({"name": "a\u202eb"}, Invalid),
        ({"allowed_addresses": ["10.0.0.1/8"]}, Invalid),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, Invalid),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(
    owner: Principal, changes: Any, error: type[Exception]
) -> None:
    with tenant_scope(owner.tenant_id):
        key, _ = make_key(by=owner, name="k")
        with pytest.raises(error):
            change_key(by=owner, key_id=key.id, changes=changes)


def test_nobody_gives_a_key_more_than_is_theirs_to_give(
    customer: Customer, owner: Principal
) -> None:
    _, admin = new_member(customer, Role.ADMIN)
    _, engineer = new_member(customer, Role.ENGINEER)
    soon, sooner = (timezone.now() + timedelta(days=days) for days in (2, 1))
    ends = authenticate_key(key_of(owner, expires_at=sooner))
    with tenant_scope(customer.tenant_id):
        owners, _ = make_key(by=owner, name="o")
        mine, _ = make_key(by=engineer, name="e", expires_at=soon)
        service, _ = make_key(by=owner, name="s", service=True, expires_at=soon)
        for by, key, changes in (
            (admin, owners, {"name": "n"}),  # an owner's is not an admin's to touch
            (engineer, owners, {"name": "n"}),
            (authenticate_key(key_of(engineer)), mine, {"name": "n"}),  # lacks `tenant:write`
            (ends, mine, {"expires_at": None}),  # a key gives no more time than it has
            (ends, mine, {"expires_at": soon + timedelta(days=1)}),
            (admin, service, {"expires_at": None}),  # an owner's to give
        ):
            with pytest.raises(Refused):
                change_key(by=by, key_id=key.id, changes=changes)  # type: ignore[arg-type]
        for by, key, changes in (
            (engineer, mine, {"expires_at": None}),
            (admin, mine, {"name": "by admin", "expires_at": soon}),
            (admin, service, {"expires_at": sooner}),
            (owner, service, {"expires_at": None}),
            (ends, mine, {"expires_at": sooner + timedelta(hours=1)}),  # less than it had
        ):
            change_key(by=by, key_id=key.id, changes=changes)  # type: ignore[arg-type]
        revoke_key(by=engineer, key_id=mine.id)
        with pytest.raises(Conflict):
            change_key(by=engineer, key_id=mine.id, changes={"expires_at": None})


@pytest.mark.parametrize(
    ("networks", "address", "allowed"),
    [
        ([], "203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.113.9", True),
        (["203.0.113.0/24"], "::ffff:203.0.113.9", True),
        (["203.0.113.0/24"], "203.0.114.9", False),
        (["2001:db8::/32"], "2001:db8::1", True),
        (["2001:db8::/32"], "203.0.113.9", False),
        (["203.0.113.0/24"], "0.0.0.0", False),
    ],
)
def test_a_key_works_from_its_networks_only(
    owner: Principal, networks: list[str], address: str, allowed: bool
) -> None:
    secret = key_of(owner, allowed_addresses=networks)
    if allowed:
        assert admit_key(secret=secret, address=address).user_id == owner.user_id
    else:
        with pytest.raises(Refused, match="may not be used from"):
            admit_key(secret=secret, address=address)


def test_the_address_that_counts_is_the_peers_and_not_what_the_request_says(
    owner: Principal,
) -> None:
    secret = key_of(owner, allowed_addresses=["10.0.0.0/8"])
    for remote, status in (("192.0.2.1", 403), ("10.1.2.3", 200)):
        answer = Client().get(
            "/api/v1/keys",
            headers={"Authorization": f"Bearer {secret}", "X-Forwarded-For": "10.9.9.9"},
            REMOTE_ADDR=remote,
        )
        assert answer.status_code == status


def test_use_is_noted_once_a_minute_and_a_new_address_is_written_down(
    customer: Customer, owner: Principal
) -> None:
    secret = key_of(owner)

    def used() -> tuple[Any, int]:
        with tenant_scope(customer.tenant_id):
            key = ApiKey.objects.get(name="k")
            return key.last_used_at, AuditEntry.objects.filter(action="key.new_address").count()

    assert used() == (None, 0)
    admit_key(secret=secret, address="192.0.2.1")
    first, entries = used()
    assert first is not None
    assert entries == 1
    admit_key(secret=secret, address="192.0.2.1")
    assert used() == (first, 1)
    admit_key(secret=secret, address="2001:db8::1")
    admit_key(secret=secret, address="2001:db8::2")  # the same /64
    assert used()[1] == 2
    with tenant_scope(customer.tenant_id):
        ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    admit_key(secret=secret, address="192.0.2.1")
    assert used()[0] >= first
