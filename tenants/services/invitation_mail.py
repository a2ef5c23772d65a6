"""Mails an invitation's link to the address, where the operator has set up a mail server."""

from collections.abc import Callable
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail

from tenants.database.scope import current_tenant_id
from tenants.errors import Unavailable
from tenants.models import Invitation, Tenant
from tenants.services.invitations import inviter_of

# In both languages: nothing is known of whoever reads it.
SUBJECT = "Invitation to {tenant} · 邀请加入 {tenant}"
BODY = """{inviter} invites you to join {tenant} on Privatune as {role}.
Open this link to accept. It works once, until {until} (UTC):

{link}

If you do not expect this, ignore it: nothing happens until you accept.

----

{inviter} 邀请您以 {role} 身份加入 Privatune 上的 {tenant}。
请打开上面的链接接受邀请。链接只能使用一次，有效期至 {until}（UTC）。
如果您并不知情，请忽略此邮件：在您接受之前，什么都不会发生。
"""


def mail_link(link_of: Callable[[str], str]) -> Callable[[Invitation, str], bool]:
    """What `invite` takes as `deliver`: mails the link that `link_of` makes of the token, and says
    whether it did; without a mail server it does not. Raises Unavailable when the server fails."""

    def deliver(invitation: Invitation, token: str) -> bool:
        if not settings.MAIL_SERVER:
            return False
        tenant = Tenant.objects.get(id=current_tenant_id()).name
        facts = {
            "tenant": tenant,
            "inviter": inviter_of(invitation, tenant),
            "role": invitation.role,
            "until": f"{invitation.expires_at:%Y-%m-%d %H:%M}",
            "link": link_of(token),
        }
        subject = " ".join(SUBJECT.format(**facts).split())  # a name's line break is no header
        try:
            send_mail(subject, BODY.format(**facts), None, [invitation.email])
        except (OSError, SMTPException) as error:
            raise Unavailable(
                "mail_failed",
                "The mail server did not take the invitation, so there is none.",
                fix="Try again; if it stays, the operator must mend PRIVATUNE_MAIL.",
            ) from error
        return True

    return deliver
