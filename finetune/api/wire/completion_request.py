"""The body of `POST /v1/completions`."""

from typing import Any

from pydantic import Field

from faults import UserFault
from finetune.api.wire.sampling import Sampling

MAX_PROMPTS = 64
DEFAULT_TOKENS = 16  # OpenAI's

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
}


class CompletionRequest(Sampling):
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(None, ge=0)
    suffix: str | None = None
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=5)

    def check(self) -> None:
        """Raises UserFault for what cannot be honoured."""
        self.refuse_unoffered(NEUTRAL)
        if self.max_tokens == 0 and not self.echo:
            raise UserFault(
                "invalid_value",
                "`max_tokens` 0 asks for no answer.",
                fix="Add `echo: true` to have the prompt scored, or ask for a token or more.",
                param="max_tokens",
            )
        if self.suffix and self.echo:
            raise UserFault(
                "invalid_value",
                "What fills in before a `suffix` is told without the prompt.",
                fix="Leave `echo` out.",
                param="echo",
            )

    def prompts(self) -> list[str | list[int]]:
        """Raises UserFault for none, too many, or an empty one; before a suffix, nothing need stand
        before the hole."""
        given: list[Any] = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if given and all(isinstance(each, int) for each in given):
            given = [given]
        if self.suffix and not all(isinstance(each, str) for each in given):
            raise UserFault(
                "invalid_value",
                "With a `suffix`, `prompt` must be text: what is laid out around it is text, too.",
                param="prompt",
            )
        if not 1 <= len(given) <= MAX_PROMPTS or not (self.suffix or all(given)):
            raise UserFault(
                "invalid_value",
                f"`prompt` must be 1 to {MAX_PROMPTS} texts or lists of token ids, none empty.",
                param="prompt",
            )
        return given

    def generation(self, prompt: str | list[int]) -> dict[str, Any]:
        return self.drawing() | {
            "prompt": prompt,
            "suffix": self.suffix or None,
            "echo": bool(self.echo),
            "max_tokens": DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens,
            "logprobs": self.logprobs is not None,
            "top_logprobs": self.logprobs or 0,
        }
