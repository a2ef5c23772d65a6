"""A client of one organisation's identity provider: Authlib's, with everything that the provider
says of itself read into known shapes first.

Authlib hands a provider's document on as settings of its own session. Unread, a document could name
a proxy for the server to connect to, turn the check of certificates off, or choose another flow.
"""

import time
from typing import Annotated, Any

from authlib.common.errors import AuthlibBaseError
from authlib.integrations.django_client import DjangoOAuth2App, OAuth
from authlib.integrations.requests_client import OAuth2Session
from django.http import HttpRequest
from joserfc.errors import JoseError
from pydantic import BaseModel, StringConstraints, ValidationError
from requests import RequestException

from privatune.people.bounded_http import BoundedAdapter, Odd, OddAnswer

SECONDS = 10.0  # for all that is asked of a provider in one step of a sign-in
UNSIGNED = "none"  # an algorithm's name

Address = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$", max_length=2000)]


class Document(BaseModel):
    """What we use of /.well-known/openid-configuration."""

    issuer: Annotated[str, StringConstraints(max_length=2000)]
    authorization_endpoint: Address
    token_endpoint: Address
    jwks_uri: Address
    id_token_signing_alg_values_supported: list[str] | None = None

    def as_settings(self) -> dict[str, Any]:
        algorithms = self.id_token_signing_alg_values_supported
        signed = None if algorithms is None else [a for a in algorithms if a != UNSIGNED]
        return self.model_dump() | {"id_token_signing_alg_values_supported": signed}


class KeySet(BaseModel):
    keys: list[dict[str, Any]]


class Claims(BaseModel):
    """What an ID token says of the person. `amr` counts as a list only (RFC 8176)."""

    email: str | None = None
    email_verified: Any = None
    amr: Any = None

    @property
    def second_factor(self) -> bool:
        return isinstance(self.amr, list) and "mfa" in self.amr


class _Session(OAuth2Session):  # type: ignore[misc]
    """Follows no redirect: it would lead to where the operator's list does not."""

    def __init__(self, *args: Any, ends: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.max_redirects = 0
        for scheme in ("http://", "https://"):
            self.mount(scheme, BoundedAdapter(ends))


class ProviderClient(DjangoOAuth2App):  # type: ignore[misc]
    client_cls = _Session
    _settings: dict[str, Any] | None = None

    def load_server_metadata(self) -> dict[str, Any]:
        """What we use of the provider's document. Raises OddAnswer and RequestException."""
        if self._settings is None:
            document: Document = _read(Document, self._get_json(self._server_metadata_url))
            self._settings = document.as_settings()
        return self._settings

    def fetch_jwk_set(self, force: bool = False) -> dict[str, Any]:
        """The key set, asked for each time it is needed: a client lives for one request."""
        keys: KeySet = _read(KeySet, self._get_json(self.load_server_metadata()["jwks_uri"]))
        return keys.model_dump()

    def claims_of(self, request: HttpRequest) -> Claims:
        """Of the person who came back from the provider. Raises OddAnswer, AuthlibBaseError,
        JoseError and RequestException."""
        try:
            token = self.authorize_access_token(request)
        except (AuthlibBaseError, JoseError, RequestException):
            raise
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # Authlib and joserfc trust the shapes of what they read: a token that is a number ...
            raise OddAnswer(
                Odd.FORM, f"its token cannot be read ({type(error).__name__})"
            ) from error
        claims: Claims = _read(Claims, token.get("userinfo") or {})
        return claims

    def _get_json(self, url: str) -> Any:
        with self._get_session() as session:
            answer = session.request("GET", url, withhold_token=True)
            answer.raise_for_status()
            return answer.json()


def client_of(name: str, *, issuer: str, client_id: str, secret: str) -> Any:
    """Its time begins to run now. `name` marks the state that the person's session keeps."""
    return OAuth().register(
        name,
        client_cls=ProviderClient,
        client_id=client_id,
        client_secret=secret,
        server_metadata_url=f"{issuer}/.well-known/openid-configuration",
        client_kwargs={
            "scope": "openid email",
            "code_challenge_method": "S256",
            "ends": time.monotonic() + SECONDS,
        },
    )


def _read(shape: type[Any], value: Any) -> Any:
    """Raises OddAnswer naming the first field at fault, not what it held."""
    try:
        return shape.model_validate(value, strict=True)
    except ValidationError as error:
        at = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise OddAnswer(Odd.FORM, f"{shape.__name__}.{at} is missing or odd") from None
