"""Sign-in through an organisation's own identity provider (OpenID Connect: code flow with PKCE,
state and nonce, by Authlib). It opens a confined session for a member, and for nobody else."""

import logging
from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from authlib.common.errors import AuthlibBaseError
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from joserfc.errors import JoseError
from requests import RequestException

from privatune.people.bounded_http import Odd, OddAnswer
from privatune.people.confinement import confine
from privatune.people.oidc_client import Claims, client_of
from tenants.access import tenant_id_of
from tenants.addresses import client_address
from tenants.database.scope import release_connection, tenant_scope
from tenants.models import User
from tenants.services import sign_in

log = logging.getLogger(__name__)
SESSION_SECONDS = 12 * 3600  # the provider is asked again at least once a day
BACKEND = "privatune.people.backend.PasswordBackend"
ODD = {
    Odd.SLOW: gettext_lazy(
        "The provider took too long to answer. Try again; if it stays, tell whoever runs it."
    ),
    Odd.LONG: gettext_lazy("The provider's answer is far too long. Tell whoever runs it."),
    Odd.CUT: gettext_lazy(
        "The provider did not answer, or broke off. Try again; if it stays, tell whoever runs it."
    ),
    Odd.FORM: gettext_lazy(
        "The provider's answer does not have the form that OpenID Connect asks for. Tell whoever "
        "runs it; the operator of this server finds in the log what is odd."
    ),
}
FETCHED = ("token_endpoint", "jwks_uri")  # addresses of its document that we connect to


class _Refused(Exception):
    """What the person is told."""


def choose(request: HttpRequest) -> HttpResponse:
    """Asks for the organisation's short name, then shows which provider the person will go to."""
    slug = request.GET.get("organisation", "").strip()
    issuer = _provider(slug)[1].issuer if slug else None
    return render(request, "account/oidc.html", {"slug": slug, "issuer": issuer})


def start(request: HttpRequest, slug: str) -> HttpResponse:
    _tenant_id, provider = _provider(slug)
    back = request.build_absolute_uri(reverse("account_oidc_callback", args=(slug,)))
    try:
        answer: HttpResponse = _client(slug, provider).authorize_redirect(request, back)
    except (AuthlibBaseError, RequestException, _Refused) as error:
        return _failed(request, slug, error)
    return answer


def callback(request: HttpRequest, slug: str) -> HttpResponse:
    tenant_id, provider = _provider(slug)
    try:
        claims = _client(slug, provider).claims_of(request)
        user = _admit_or_tell(request, tenant_id, claims)
    except (AuthlibBaseError, JoseError, RequestException, _Refused) as error:
        return _failed(request, slug, error)
    request.session.flush()  # whatever was open here before was somebody else's
    login(request, user, backend=BACKEND)
    request.session.set_expiry(SESSION_SECONDS)
    confine(request, tenant_id, second_factor=claims.second_factor)
    UserSession.objects.create_from_request(request)
    return redirect("portal:home", slug)


def _admit_or_tell(request: HttpRequest, tenant_id: UUID, claims: Claims) -> User:
    """As `_admit`; the organisation's log tells of whoever is refused."""
    try:
        return _admit(tenant_id, claims)
    except _Refused:
        email = claims.email or ""
        with tenant_scope(tenant_id):
            sign_in.note_refused(
                email=email if email.isprintable() else "", address=client_address(request)
            )
        raise


def _admit(tenant_id: UUID, claims: Claims) -> User:
    """Only a verified address, only of a member. Raises _Refused."""
    if isinstance(claims.email_verified, str):
        raise _Refused(
            _(
                "The provider says as a text whether your e-mail address is verified; only a plain "
                "true counts. Whoever runs the provider can mend that."
            )
        )
    if claims.email_verified is not True or not claims.email:
        raise _Refused(_("The provider does not say that your e-mail address is verified."))
    member = None
    with tenant_scope(tenant_id):
        if claims.email.isprintable():  # no NUL and no half characters: the database has none
            member = sign_in.member_of_address(claims.email)
        if member is None:
            raise _Refused(_("You are no member of this organisation."))
        user: User = member.user
    return user


def _provider(slug: str) -> tuple[UUID, sign_in.Provider]:
    """Raises Http404, the same for an unknown organisation and for one without a provider."""
    tenant_id = tenant_id_of(slug)
    if tenant_id is not None:
        with tenant_scope(tenant_id):
            provider = sign_in.provider()
        if provider is not None:
            return tenant_id, provider
    raise Http404


def _client(slug: str, provider: sign_in.Provider) -> Any:
    """Named by the slug, so that a state begun with one organisation ends with no other. Raises
    _Refused for a provider, or an address that it names, which the operator does not allow."""
    if not sign_in.is_fetched(provider.issuer):
        raise _Refused(_("The operator of this server does not allow this provider any more."))
    client = client_of(
        f"tenant-{slug}",
        issuer=provider.issuer,
        client_id=provider.client_id,
        secret=provider.secret,
    )
    release_connection()  # the provider may take its time
    told = client.load_server_metadata()
    if told["issuer"].rstrip("/") != provider.issuer:
        raise _Refused(_("The provider calls itself by another name than was agreed."))
    if not all(sign_in.is_fetched(told[each]) for each in FETCHED):
        raise _Refused(_("The provider names an address that the operator does not allow."))
    return client


def _failed(request: HttpRequest, slug: str, error: Exception) -> HttpResponse:
    why = type(error).__name__
    reason = _("The provider's answer was not valid.")
    if isinstance(error, OddAnswer):
        why, reason = f"{why}: {error}", str(ODD[error.odd])
    elif isinstance(error, _Refused):
        reason = str(error)
    log.warning("sign-in through the provider of %s failed: %s", slug, why)
    context = {"slug": slug, "reason": reason}
    return render(request, "account/oidc_failed.html", context, status=403)
