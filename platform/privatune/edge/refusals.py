"""What the edge answers instead of the application."""

from finetune.api.problems import Problem, Refusal

TOO_SLOW = Problem(
    408,
    "request_too_slow",
    "The request's body came too slowly and was not waited for.",
    fix="Send it over a faster line, or a large file in parts by `/v1/uploads`.",
)
MALFORMED = Problem(
    400,
    "malformed_request",
    "The request could not be read: its address or its body breaks the rules of HTTP.",
    fix="Send the address percent-encoded, and a body as Content-Length or its chunks say.",
)
ENCODED = Problem(
    415,
    "unsupported_content_encoding",
    "A request's body is not taken compressed.",
    fix="Send it without Content-Encoding. A training file may be compressed itself (gzip, zstd).",
)
SIGN_IN = Problem(
    401, "sign_in_required", "You are not signed in.", fix="Sign in, then send the file again."
)
SECOND_FACTOR = Problem(
    403,
    "second_factor_needed",
    "This organisation requires a second factor.",
    fix="Load the page again and use or set up your second factor, then send the file again.",
)


def too_many(code: str, message: str, seconds: float, fix: str | None = None) -> Refusal:
    """429 with the seconds after which it may be tried again."""
    return Refusal(Problem(429, code, message, fix=fix, retry_after=max(1, round(seconds + 0.5))))
