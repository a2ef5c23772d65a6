"""What a model is not asked for, in words that need none of it in memory."""

from faults import UserFault


def model_ranks() -> UserFault:
    return UserFault(
        "model_ranks",
        "This model scores documents beside a query, and makes no text and no vectors.",
        fix="Ask it with `/v1/rerank`, or another model here.",
        param="model",
    )
