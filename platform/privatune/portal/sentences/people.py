"""People, rights, keys, organisations."""

from typing import Any

from django.utils.translation import gettext_lazy as _

TENANTS: dict[str, Any] = {
    "missing_scope": _("Your role does not give this right. Ask an owner or admin."),
    "role_beyond_own": _("This role is not yours to give or to change. Ask an owner."),
    "scope_beyond_own": _("You can pass on only the rights that you have yourself."),
    "owner_needed": _("Only an owner decides this. Ask an owner of your organisation."),
    "tenant_deleted": _(
        "Its key is destroyed and its data can never be read. The operator has the deletion "
        "certificate."
    ),
    "membership_ended": _("You no longer belong to this organisation."),
    "second_factor_needed": _(
        "This organisation requires a second factor. Load the page again and use or set up yours."
    ),
    "provider_asked_no_factor": _(
        "This organisation requires a second factor, and its provider did not ask for one. Ask "
        "whoever runs the provider, or sign in with your password."
    ),
    "sign_in_required": _("You are not signed in. Sign in and try again."),
    "access_ended": _("You are signed out, or may no longer ask this model."),
    "too_many_attempts": _("Too many failed attempts. Wait a while, then try again."),
    "member_exists": _("That person is a member already."),
    "member_not_found": _("That person is not a member any more."),
    "last_owner": _("This is the organisation's only owner. Make somebody else an owner first."),
    "invalid_role": _("There is no such role."),
    "too_many_invitations_today": _(
        "Too many invitations were sent today, in all or to this address. Go on tomorrow."
    ),
    "too_many_invitations": _("Too many invitations are open. Revoke some first."),
    "invitation_accepted": _("It was accepted already. Remove the member instead."),
    "invitation_not_found": _("This invitation is not open any more."),
    "invitation_for_another_address": _("This invitation is for another address than yours."),
    "inviter_lost_right": _(
        "Whoever invited you may not give this role any more. Ask for a new invitation."
    ),
    "invalid_credentials": _(
        "This password does not open the account of the invited address. Try again, or have it "
        "reset."
    ),
    "invalid_email": _("This is no e-mail address."),
    "name_missing": _("Say what the key is for."),
    "invalid_name": _("Say in 1 to 80 characters what the key is for."),
    "unreadable_text": _(
        "A name or reason is blank or holds a character that cannot be seen. Write it in one line "
        "of visible characters."
    ),
    "invalid_expiry": _("Write the day as 2030-12-31."),
    "expiry_past": _("That day has passed already. To end a key now, revoke it."),
    "account_exists": _("There is an account with this address already: sign in with it."),
    "email_taken": _("There is an account with this address already."),
    "mail_failed": _(
        "The mail server did not take the invitation, so there is none. Try again; if it stays, "
        "tell the operator."
    ),
    "unknown_scope": _("A key needs at least one scope."),
    "too_many_networks": _("These are too many networks for one key."),
    "invalid_network": _(
        "One of the networks cannot be read. Write an address (203.0.113.7) or a network "
        "(203.0.113.0/24, 2001:db8::/32)."
    ),
    "invalid_overlap": _("The old secret cannot live on for so long."),
    "key_ended": _("The key is revoked or expired. Make a new one."),
    "key_not_found": _("There is no such key."),
    "key_of_another": _(
        "This key belongs to somebody else. Revoke it, and let its member make a new one."
    ),
    "service_key_by_owner": _(
        "Only an owner makes and renews service keys, or gives them more time or networks."
    ),
    "expiry_beyond_own": _("The key cannot outlive the one it is made with."),
    "addresses_beyond_own": _("The key cannot work from more networks than your own."),
    "license_required": _(
        "Your organisation's licence for this model does not allow this: it is missing, "
        "suspended, not valid now or used up, or does not name the right for it. The page "
        "Licences shows it; ask the operator."
    ),
    "client_missing": _("The client's id and its secret are both needed."),
    "invalid_issuer": _(
        "The issuer must be a plain https:// address. Copy it from the provider, e.g. "
        "https://login.example.com/realms/staff."
    ),
    "issuer_not_allowed": _("The operator of this server does not allow this provider."),
    "invalid_reason": _("Say in 1 to 200 characters why the operator should look."),
    "invalid_limit": _("This limit cannot be set. Give a whole number above 0."),
    "invalid_hours": _("Support access lasts from 1 to 168 hours."),
}
