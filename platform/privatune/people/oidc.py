"""Sign-in through an organisation's own identity provider (OpenID Connect: code flow with PKCE,
state and nonce, by Authlib). It opens a confined session for a member, and for nobody else."""

import logging
from typing import Any
from uuid import UUID

from allauth.usersessions.models import UserSession
from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import DjangoOAuth2App, OAuth
from authlib.integrations.requests_client import OAuth2Session
from django.contrib.auth import login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from joserfc.errors import JoseError
from requests import RequestException

from privatune.people.confinement import confine
from tenants.access import tenant_id_of
from tenants.database.scope import tenant_scope
from tenants.models import User
from tenants.services import sign_in

log = logging.getLogger(__name__)
SESSION_SECONDS = 12 * 3600  # the provider is asked again at least once a day
SECONDS = 10  # for each answer of the provider
BACKEND = "privatune.people.backend.PasswordBackend"
FETCHED = ("token_endpoint", "jwks_uri")  # addresses of its document that we connect to


class _Session(OAuth2Session):  # type: ignore[misc]
    """Follows no redirect: it would lead to where the operator's list does not."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_redirects = 0


class _App(DjangoOAuth2App):  # type: ignore[misc]
    client_cls = _Session


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
        token = _client(slug, provider).authorize_access_token(request)
        claims: dict[str, Any] = token.get("userinfo") or {}
        user = _admit(tenant_id, claims)
    except (AuthlibBaseError, JoseError, RequestException, _Refused) as error:
        return _failed(request, slug, error)
    request.session.flush()  # whatever was open here before was somebody else's
    login(request, user, backend=BACKEND)
    request.session.set_expiry(SESSION_SECONDS)
    confine(request, tenant_id, second_factor="mfa" in (claims.get("amr") or []))
    UserSession.objects.create_from_request(request)
    return redirect("portal:home", slug)


def _admit(tenant_id: UUID, claims: dict[str, Any]) -> User:
    """Only a verified address, only of a member. Raises _Refused."""
    if claims.get("email_verified") is not True or not claims.get("email"):
        raise _Refused(_("The provider does not say that your e-mail address is verified."))
    with tenant_scope(tenant_id):
        member = sign_in.member_of_address(str(claims["email"]))
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
    client = OAuth().register(
        f"tenant-{slug}",
        client_cls=_App,
        client_id=provider.client_id,
        client_secret=provider.secret,
        server_metadata_url=f"{provider.issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email",
            "code_challenge_method": "S256",
            "default_timeout": SECONDS,
        },
    )
    told = client.load_server_metadata()
    if str(told.get("issuer", "")).rstrip("/") != provider.issuer:
        raise _Refused(_("The provider calls itself by another name than was agreed."))
    if not all(sign_in.is_fetched(str(told.get(each, ""))) for each in FETCHED):
        raise _Refused(_("The provider names an address that the operator does not allow."))
    return client


def _failed(request: HttpRequest, slug: str, error: Exception) -> HttpResponse:
    log.warning("sign-in through the provider of %s failed: %s", slug, type(error).__name__)
    reason = (
        str(error) if isinstance(error, _Refused) else _("The provider's answer was not valid.")
    )
    context = {"slug": slug, "reason": reason}
    return render(request, "account/oidc_failed.html", context, status=403)
