"""What chat and completions share: how tokens are drawn, and which parameters are not offered.

A parameter that would change the answer and is not offered is refused, never ignored. `user` and
its like are labels for the provider's own records; they change nothing here and are accepted.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from faults import UserFault

MAX_STOP = 4
MAX_BIASES = 1024


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    include_usage: bool = False
    include_obfuscation: bool = False


def _stops(value: str | list[str] | None) -> list[str]:
    stops = [value] if isinstance(value, str) else (value or [])
    if len(stops) > MAX_STOP or not all(stops):
        raise ValueError(f"give at most {MAX_STOP} stop sequences, none of them empty")
    return stops


Stop = Annotated[str | list[str] | None, AfterValidator(_stops)]


def _labels(value: dict[str, str]) -> dict[str, str]:
    if len(value) > 16 or not all(len(k) <= 64 and len(v) <= 512 for k, v in value.items()):
        raise ValueError("give at most 16 entries, keys of at most 64 characters, values of 512")
    return value


Metadata = Annotated[dict[str, str], AfterValidator(_labels)]  # a response gives it back


def _biases(value: dict[str, float] | None) -> dict[str, float] | None:
    for token, bias in (value or {}).items():
        if not (token.isascii() and token.isdecimal() and len(token) < 10):
            raise ValueError('its keys are token ids of the model, as "1234"')
        if not -100 <= bias <= 100:
            raise ValueError("a bias is a number from -100 to 100")
    return value


Biases = Annotated[dict[str, float] | None, AfterValidator(_biases)]


class Sampling(BaseModel):
    """`neutral` of a subclass: parameters not offered, with the values that change nothing."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    n: int | None = Field(None, ge=1, le=128)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    logit_bias: Biases = Field(None, max_length=MAX_BIASES)
    stop: Stop = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None

    def refuse_unoffered(self, neutral: dict[str, tuple[Any, ...]]) -> None:
        """Raises UserFault for a parameter that is unknown, or known and not at rest."""
        refuse_unoffered(self.model_extra or {}, neutral)
        if self.stream_options is not None and not self.stream:
            raise UserFault(
                "invalid_value",
                "`stream_options` goes with `stream: true`.",
                param="stream_options",
            )

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def drawing(self) -> dict[str, Any]:
        """As the serving process wants it; OpenAI's defaults where nothing was said."""
        return {
            "n": self.n or 1,
            "temperature": 1.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "frequency_penalty": self.frequency_penalty or 0.0,
            "presence_penalty": self.presence_penalty or 0.0,
            "logit_bias": {int(token): bias for token, bias in (self.logit_bias or {}).items()},
            "stop": self.stop or [],
            "seed": self.seed,
        }


def refuse_unoffered(given: Mapping[str, Any], neutral: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises UserFault for a parameter that is unknown, or known and not at rest."""
    for name, value in given.items():
        if name not in neutral:
            raise UserFault(
                "unknown_parameter", f"There is no parameter `{name[:64]}`.", param=name[:64]
            )
        if value is not None and value not in neutral[name]:
            raise UserFault(
                "unsupported_parameter",
                f"The parameter `{name}` is not offered here.",
                fix="Leave it out.",
                param=name,
            )


def now() -> int:
    return int(time.time())
