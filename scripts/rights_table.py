"""Writes docs/reference/rights.md from the tables of rights, tenants/roles.py and rights.py."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "rights.md"

HEAD = """# Rights: who may do what, and give what

Made from `tenants/roles.py` and `tenants/rights.py` by `scripts/rights_table.py`. People have a
role, keys have scopes, organisations have licences; the services ask, whichever door a request came
through: API, portal or command line.

## What each role may do

"""
GIVING = """
## Who may give and touch what

A role is given by an invitation or a change of role. Touching a member is changing or removing
them, or revoking their keys. Nobody gives a role that holds a scope they lack themselves.

| role | gives, and touches members of |
|---|---|
"""
LICENCES = """
## What a licence allows

A licence is for one model of the catalogue and holds some of these rights, by default all but
`merge`, which gives the base itself. Whatever gives weights out or runs a model asks for the right
itself, each time.

| right | the organisation |
|---|---|
"""
RULES = """
* Only owners touch owners, and a tenant always keeps one. Everybody may leave.
* Membership begins with an accepted invitation. It works once, ends after 7 days (1 to 30), when
  it is revoked or replaced, when whoever made it is removed or may not give the role any more, or
  when the key that made it is revoked.
* Where the server has a mail server, an invitation is mailed and the person accepts it signed in
  with that verified address; without one, the inviter hands over the link, and the person accepts
  it with the account of that address, for which the inviter vouches. An account that was begun so
  stays unverified; once it belongs to no organisation, the next invitation to its address takes it
  over.

## Keys

* A **member's key** does what its scopes and its member's present role both allow; a lower role
  limits it and the end of the membership ends it, at once. In the portal every member makes keys
  of their own; a key needs `tenant:write` to make another, which then is the same member's,
  within the first one's scopes, expiry and allowed networks.
* A **key made by a key** ends with it, at once, and so do those that it made in turn; revoking
  tells which, and the audit trail has an entry for each. It works no longer than the key that made
  it and from no other networks, as they are now: shorten the one, and the other is shortened.
  Rotating a key changes nothing for those that it made. A line has at most ten keys. This holds
  for service keys that a key made, too: one that is to stay is made in person, in the portal.
* A **service key** belongs to nobody. Only an owner (or the operator) makes and rotates one; it
  acts as `{service}` at most, so it touches no owner. Whoever has `tenant:write` may revoke it.
* Nobody gets the secret of another's key: only its member rotates it. A key rotates itself and
  the keys that it made, no others. While it is rotated two secrets live, the old one for a day or
  as long as was said, at most 30 days. The old one has no `tenant:write` any more: whoever stole it
  cannot renew the key for himself.
* **Name, expiry and networks** of a key in use can be changed, by whoever may revoke it. A later
  expiry or more networks stay within the key that made it and within the key that asks; a service
  key gets them from an owner only. Scopes never change: another key is made for others. A revoked
  or expired key stays what it is.
* A key with allowed networks answers 403 `address_not_allowed` from elsewhere. First use from a
  new address (for IPv6: a new /64), and being refused from one, are written to the audit trail.
"""


def page() -> str:
    sys.path[:0] = [str(ROOT)]
    from tenants.rights import Right
    from tenants.roles import GIVES, ROLE_SCOPES, SERVICE_ROLE, Role, Scope

    head = "| scope | " + " | ".join(Role) + " |\n" + "|---" * (len(Role) + 1) + "|\n"
    scopes = "".join(
        f"| `{scope}` | "
        + " | ".join("yes" if scope in ROLE_SCOPES[role] else "" for role in Role)
        + " |\n"
        for scope in Scope
    )
    gives = "".join(
        f"| {role} | {', '.join(each for each in Role if each in GIVES[role]) or 'nobody'} |\n"
        for role in Role
    )
    rules = RULES.format(service=SERVICE_ROLE)
    rights = "".join(f"| `{right}` | {right.label} |\n" for right in Right)
    return HEAD + head + scopes + GIVING + gives + rules + LICENCES + rights


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
