"""The HTTP client of the command line: settings from the environment, errors as `Stop`.

Both faces answer errors their own way, OpenAI's `{"error": ...}` and RFC 9457 problems; both are
read here, so that no command looks at a status code.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx

from privatune.cli.exits import Exit, Stop, exit_for
from tenants.public_ids import PublicId

DEFAULT_BASE_URL = "http://127.0.0.1:8000"
FROM_US = "x-request-id"
CONNECT_SECONDS, READ_SECONDS = 10.0, 300.0


_PLAIN = re.compile(r"[\w/:.~%@+-]+", re.ASCII)  # of an address, as it is sent


class Client:
    """Paths are absolute from the server's root: /v1/... or /api/v1/..."""

    def __init__(self, base_url: str, api_key: str) -> None:
        self.root = server_root(base_url)
        self._http = httpx.Client(
            base_url=self.root,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            transport=httpx.HTTPTransport(retries=2),  # of the connect only: nothing is sent twice
        )

    @classmethod
    def from_environment(cls) -> "Client":
        """Reads PRIVATUNE_BASE_URL (with or without /v1) and PRIVATUNE_API_KEY."""
        key = os.environ.get("PRIVATUNE_API_KEY", "").strip()
        if not key:
            raise Stop(
                Exit.USAGE,
                "PRIVATUNE_API_KEY is not set.",
                code="api_key_missing",
                fix="export PRIVATUNE_API_KEY=... with the key that `privatune up` or your "
                "administrator gave you, and PRIVATUNE_BASE_URL=https://... with the server's "
                f"address, unless it is {DEFAULT_BASE_URL}.",
            )
        _require_whole(key)
        return cls(os.environ.get("PRIVATUNE_BASE_URL", "").strip() or DEFAULT_BASE_URL, key)

    def get(self, path: str, **params: Any) -> Any:
        given = {name: value for name, value in params.items() if value is not None}
        return self._json("GET", path, params=given)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Sends an Idempotency-Key, so that a wish repeated by a proxy stays one wish."""
        headers = {"Idempotency-Key": str(uuid4())}
        return self._json("POST", path, json=body or {}, headers=headers)

    def post_form(self, path: str, fields: dict[str, str], **files: Any) -> Any:
        headers = {"Idempotency-Key": str(uuid4())}
        return self._json("POST", path, data=fields, files=files, headers=headers)

    def patch(self, path: str, body: dict[str, Any]) -> Any:
        return self._json("PATCH", path, json=body)

    def delete(self, path: str) -> Any:
        return self._json("DELETE", path)

    def pages(self, path: str, *, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
        """The rows of a list of either face, page after page, up to `limit`."""
        after: str | None = None
        while limit > 0:
            page = self.get(path, limit=min(limit, 100), after=after, **params)
            yield from page["data"][:limit]
            limit -= len(page["data"])
            if not page.get("has_more") or not page["data"]:
                return
            after = page["data"][-1]["id"]

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """A response whose body is still to come; an error status has raised already."""
        _require_plain(path)
        try:
            with self._http.stream(method, path, **options) as response:
                if not response.is_success or FROM_US not in response.headers:
                    response.read()
                    self._require_success(response)
                yield response
        except httpx.TransportError as error:
            raise self._no_answer(error) from error

    def _json(self, method: str, path: str, **options: Any) -> Any:
        _require_plain(path)
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._no_answer(error) from error
        self._require_success(response)
        if response.status_code == 204:
            return {}
        try:
            return response.json()
        except ValueError as error:
            raise self._not_ours("answered something that is not JSON") from error

    def _require_success(self, response: httpx.Response) -> None:
        """Every answer of Privatune's has an id; a gateway's own word of trouble has none."""
        if response.is_redirect:
            elsewhere = response.headers.get("location", "elsewhere")
            raise self._not_ours(f"sends on to {elsewhere}")
        ours = FROM_US in response.headers
        if not ours and (response.is_success or response.status_code in (404, 405)):
            raise self._not_ours(f"answered {response.status_code}, and not as Privatune does")
        if response.is_error:
            raise refusal(response)

    def own_id(self, kind: PublicId, told: dict[str, Any]) -> str:
        """Of a row that the server told of, before a file is named so. Raises Stop."""
        found = told.get("id")
        if not isinstance(found, str) or kind.read(found) is None:
            raise self._not_ours("told of an id that is none")
        return found

    def _not_ours(self, what: str) -> Stop:
        return Stop(
            Exit.UNAVAILABLE,
            f"{self.root} {what}.",
            code="not_our_server",
            fix="check PRIVATUNE_BASE_URL: is a Privatune server there?",
        )

    def _no_answer(self, error: httpx.TransportError) -> Stop:
        return Stop(
            Exit.UNAVAILABLE,
            f"No answer from {self.root}: {error or type(error).__name__}",
            code="no_answer",
            fix="start the server (`privatune up`) or set PRIVATUNE_BASE_URL to where it runs.",
        )


def _require_plain(path: str) -> None:
    """An id or name in it that is none would ask at another address."""
    if _PLAIN.fullmatch(path) is None or {".", ".."} & set(path.split("/")):
        raise Stop(
            Exit.USAGE,
            "An id or a model's name holds characters that none has.",
            code="bad_id",
            fix="Copy it as a list shows it, such as `privatune jobs list`.",
        )


def _require_whole(key: str) -> None:
    """A key copied from a page with its dots, or with a line's end in it, cannot even be sent."""
    odd = next((sign for sign in key if not "!" <= sign <= "~"), None)
    if odd is not None:
        raise Stop(
            Exit.USAGE,
            f"PRIVATUNE_API_KEY has {odd!r} in it, which no key has.",
            code="api_key_malformed",
            fix="copy the whole key again, as `privatune up` or your administrator showed it.",
        )


def server_root(base_url: str) -> str:
    """http://host:port from a base URL that may end in /v1, as the openai package wants it."""
    root = base_url.rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        known = httpx.URL(root).scheme in ("http", "https") and httpx.URL(root).host
    except httpx.InvalidURL:
        known = ""
    if not known:
        raise Stop(
            Exit.USAGE,
            f"PRIVATUNE_BASE_URL is not an address: {base_url!r}",
            code="base_url_invalid",
            fix=f"write it like {DEFAULT_BASE_URL}",
        )
    return root


def refusal(response: httpx.Response) -> Stop:
    """What an error response says, in either face's shape."""
    said = _said(response)
    status = response.status_code
    message = said.get("message") or said.get("detail") or said.get("title")
    where, fix = _text(said.get("where")), _text(said.get("fix"))
    text = str(message or f"The server answered {status} to {response.request.url.path}.")
    # The server's sentence ends with both, for whoever reads nothing else
    text = text.removesuffix(f" {fix}").removesuffix(f" ({where})")
    stop = Stop(
        exit_for(status),
        text,
        code=str(said.get("code") or f"http_{status}"),
        where=where,
        fix=fix or _usual_fix(status),
        param=_text(said.get("param")),
    )
    wait = response.headers.get("retry-after", "")
    stop.retry_after = int(wait) if wait.isdecimal() and len(wait) < 5 else None
    return stop


def _said(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    return error if isinstance(error, dict) else {"message": error}


def _usual_fix(status: int) -> str | None:
    return {
        401: "check PRIVATUNE_API_KEY.",
        429: "wait a little and try again.",
    }.get(status)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
