"""What a model is told not to be when it is asked for another kind's answer. The services say the
same to whoever asks, before a model is loaded: this imports nothing that does."""

from faults import UserFault


def model_ranks() -> UserFault:
    """Of a reranker, where text or vectors are asked for."""
    return _fault(
        "model_ranks",
        "This model scores documents beside a query, and makes no text and no vectors.",
        "Ask it with `/v1/rerank`, or another model here.",
    )


def model_embeds() -> UserFault:
    """Of an embedding model, where text is asked for."""
    return _fault(
        "model_embeds",
        "This model makes vectors of texts and writes none.",
        "Ask it with `/v1/embeddings`, or choose a model that writes.",
    )


def model_writes() -> UserFault:
    """Of a model that writes, where vectors are asked for."""
    return _fault(
        "model_writes",
        "This model writes text and makes no embeddings.",
        "Name an embedding model: a base of the family embedding, or one tuned on it.",
    )


def model_does_not_rank() -> UserFault:
    """Where documents are to be ranked, of any model but a reranker."""
    return _fault(
        "model_does_not_rank",
        "This model does not score documents beside a query.",
        "Name a reranker: a base of the family reranking, or one tuned on it.",
    )


def model_scores() -> UserFault:
    """Of a reward model, where text or vectors are asked for: without its head it is no model."""
    return _fault(
        "model_scores",
        "This model scores answers and writes none.",
        "Let it score in a grader of the type reward_model; ask another model here.",
    )


def not_a_reward_model() -> UserFault:
    """Where a reward is asked for, of a model without a head that scores."""
    return _fault(
        "not_a_reward_model",
        "This model writes, and has no head that scores.",
        "Name a reward model of yours: the result of a job of the method reward.",
    )


def _fault(code: str, message: str, fix: str) -> UserFault:
    return UserFault(code, message, fix=fix, param="model")
