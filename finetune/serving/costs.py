"""What a request may cost, told before anything is done for it."""

from faults import UserFault
from finetune.serving.protocol import Cost, CostLimits, GenerateRequest


def cost_of(request: GenerateRequest, prompt_tokens: int, context_length: int) -> Cost:
    """At most: an answer that ends earlier costs less."""
    room = context_length - prompt_tokens
    answer = room if request.max_tokens is None else min(request.max_tokens, room)
    told = answer + (prompt_tokens if request.echo else 0)
    scored = request.n * told * (1 + request.top_logprobs) if request.logprobs else 0
    return Cost(tokens=request.n * (prompt_tokens + answer), logprobs=scored)


def check_cost(cost: Cost, limits: CostLimits) -> None:
    """Raises UserFault `request_too_costly` with the numbers."""
    if cost.tokens > limits.tokens:
        raise UserFault(
            "request_too_costly",
            f"This request may take {cost.tokens} tokens (prompts x n x (prompt + max_tokens)), "
            f"and {limits.tokens} are allowed in one request.",
            fix="Lower `max_tokens` or `n`, shorten the prompt, or send several requests.",
            param="max_tokens",
        )
    if cost.logprobs > limits.logprobs:
        raise UserFault(
            "request_too_costly",
            f"This request would tell {cost.logprobs} log-probabilities, with alternatives and an "
            f"echoed prompt's, and {limits.logprobs} are allowed in one request.",
            fix="Leave out `echo`, or lower `logprobs`, `n` or `max_tokens`.",
            param="logprobs",
        )
