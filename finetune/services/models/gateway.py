"""Lets a tenant ask its models: resolves a name to base and adapter, and speaks to the serving
process, which holds no data of its own. Never answers with another model than the one asked for."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from asgiref.sync import sync_to_async
from django.conf import settings

from faults import Fault, OurFault, UserFault
from finetune import selectors
from finetune.models import Artifact, CatalogModel
from finetune.records.recipe import Side
from finetune.services.models import artifacts, tokens
from finetune.services.models.eviction import label
from finetune.services.models.tokens import Reservation
from finetune.services.models.withholding import require_given_out
from finetune.serving import costs
from finetune.serving.client import ServingClient
from finetune.serving.protocol import (
    Conversation,
    CostLimits,
    Delta,
    Embedded,
    EmbedRequest,
    GenerateRequest,
    Scored,
    ScoreRequest,
)
from finetune.serving.refusals import model_embeds, model_ranks, model_scores, not_a_reward_model
from tenants.access import Principal
from tenants.database.scope import current_tenant_id, release_connection, tenant_scope
from tenants.errors import NotFound
from tenants.limits import limits_of
from tenants.models import License, Tenant
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.licences import require_license

Still = Callable[[], None]
Reply = TypeVar("Reply", Embedded, Scored)
Ask = Callable[[Any], Awaitable[Reply]]  # of the one client, which only doors make

_PASSING = ("serving_unavailable", "overloaded", "shutting_down", "compiler_lost")
_LEAST = 0.1  # seconds between two questions, however often they are to be asked
ATTEMPTS = 3  # an adapter just sent may be put out again by others before it is asked


class ServingDown(OurFault):
    status = 503
    retry_after = 1  # seconds


class TooManyWaiting(UserFault):
    status = 429
    retry_after = 1  # seconds


@dataclass(frozen=True)
class Target:
    """What answers. `adapter_digest` None: the plain base. Usable outside the tenant's scope."""

    tenant_id: UUID
    model: str
    base_path: Path
    base_digest: str
    context_length: int
    artifact_id: UUID | None
    adapter_digest: str | None
    tokens_per_minute: int = field(compare=False)  # may change while an answer goes on
    thinking: bool | None = None  # as the adapter was trained to be asked; None: not told
    withheld_too: bool = False  # it is only evaluated
    family: str = "causal_lm"
    scores: bool = False  # a reward model

    @property
    def fingerprint(self) -> str:
        """OpenAI's `system_fingerprint`: other weights, another fingerprint."""
        bare = (self.adapter_digest or self.base_digest).removeprefix("sha256:")
        return f"fp_{bare[:12]}"


def find_model(*, name: str, param: str | None = "model") -> CatalogModel | Artifact:
    """A model that the open scope's tenant may know of: its own, or one it has a licence for.

    Raises NotFound, the same for what does not exist and for what is not the tenant's.
    """
    found: CatalogModel | Artifact | None
    if name.startswith("ft:"):
        found = selectors.artifacts().filter(model_name=name).first()
    else:
        held = License.objects.filter(model=name).exists()
        found = selectors.catalogue().filter(name=name).first() if held else None
    if found is None:
        raise no_such_model(param)
    return found


def resolve(*, name: str, withheld_too: bool = False, scores: bool = False) -> Target:
    """Base and adapter of a model, if the tenant may have it served now. In the open scope.
    `withheld_too`: to evaluate it; `scores`: a reward model, and no other.

    Raises NotFound for an unknown or foreign model, Refused (403) without the licence to serve and
    for a model that is withheld, UserFault `model_scores` or `not_a_reward_model` for another kind.
    """
    found: CatalogModel | Artifact | None
    if name.startswith("ft:"):
        found = find_model(name=name)
    else:
        found = selectors.catalogue().filter(name=name).first()
    if found is None:
        raise no_such_model("model")
    base = found.base if isinstance(found, Artifact) else found
    require_license(model=base.name, right=Right.SERVE)
    artifact = found if isinstance(found, Artifact) else None
    if scores != (artifact is not None and artifact.scores):
        raise not_a_reward_model() if scores else model_scores()
    if artifact is not None and not withheld_too:
        require_given_out(artifact)
    return _target(name, base, artifact, withheld_too)


def resolve_judge(*, name: str, scores: bool) -> Target:
    """As `resolve`, of a model that is to say what answers are worth: one that writes, or `scores`.
    Raises UserFault `model_embeds` as well; each names `grader`."""
    try:
        target = resolve(name=name, scores=scores)
        require_writing(target.family)
    except UserFault as fault:
        fault.param = "grader"
        raise
    return target


def require_writing(family: str) -> None:
    """Raises UserFault `model_embeds`, `model_ranks`."""
    if family == "reranking":
        raise model_ranks()
    if family == "embedding":
        raise model_embeds()


async def reserve(
    *,
    target: Target,
    generations: list[dict[str, Any]],
    by: Principal,
    still: Still = lambda: None,
) -> Reservation:
    """Takes what the answers to one request may cost together from the tenant's tokens a minute,
    without which nothing is generated; the tenant's log says that they ask. `still` as for
    `generate`: a base may have to be read first.

    Raises Refused without the scope to ask models or the licence, UserFault `request_too_costly`,
    TokensUsedUp (429), ServingDown (503), and what the model cannot be asked.
    """
    return await _reserve(
        target, [partial(_request, target, each) for each in generations], by, still
    )


async def embed(
    *,
    target: Target,
    inputs: list[str | list[int]],
    side: Side = "text",
    dimensions: int | None = None,
    query: str | None = None,
    document_tokens: int | None = None,
    cut: bool = True,
    by: Principal,
    still: Still = lambda: None,
) -> tuple[Embedded, Reservation]:
    """Vectors of the inputs, and what was taken of the tenant's tokens a minute for them. `side`,
    `dimensions` and what follows it are EmbedRequest's. Raises what `reserve` and `generate`
    raise."""

    def request() -> EmbedRequest:
        return EmbedRequest(
            tenant=str(target.tenant_id),
            base_path=str(target.base_path),
            base_digest=target.base_digest,
            adapter_digest=target.adapter_digest,
            limits=_limits(),
            inputs=inputs,
            side=side,
            dimensions=dimensions,
            query=query,
            document_tokens=document_tokens,
            cut=cut,
        )

    reserved = await _reserve(target, [request], by, still)
    return await _replied(
        target, reserved, lambda client: client.embed(request()), by, still
    ), reserved


async def score(
    *,
    target: Target,
    conversations: Sequence[dict[str, Any]],
    by: Principal,
    still: Still = lambda: None,
) -> Scored:
    """What a reward model says of conversations, each with `messages` and maybe `tools`. Raises
    what `reserve` and `generate` raise."""
    if target.adapter_digest is None:
        raise not_a_reward_model()
    digest = target.adapter_digest

    def request() -> ScoreRequest:
        return ScoreRequest(
            tenant=str(target.tenant_id),
            base_path=str(target.base_path),
            base_digest=target.base_digest,
            adapter_digest=digest,
            limits=_limits(),
            conversations=[Conversation.model_validate(each) for each in conversations],
            thinking=target.thinking,
        )

    reserved = await _reserve(target, [request], by, still)
    return await _replied(target, reserved, lambda client: client.score(request()), by, still)


async def _replied(
    target: Target,
    reserved: Reservation,
    ask: Ask[Reply],
    by: Principal,
    still: Still,
) -> Reply:
    try:
        found = await _asked(target, ask, by, still)
    except Exception:
        reserved.release()
        raise
    reserved.spend(found.prompt_tokens)
    return found


async def _asked(
    target: Target,
    ask: Ask[Reply],
    by: Principal,
    still: Still,
) -> Reply:
    client = ServingClient(settings.SERVING_SOCKET)
    asked = await _permitted(target, still)
    for attempt in range(ATTEMPTS):
        try:
            coming = asyncio.ensure_future(ask(client))
            await _until_there(coming, target, still, asked)
            return coming.result()
        except Fault as fault:
            if fault.code != "adapter_not_loaded" or attempt == ATTEMPTS - 1:
                raise told(fault) from fault
        await _provide(client, target, by)
        asked = await _permitted_or_evicted(client, target, still)
    raise AssertionError  # the last attempt returns or raises


async def _reserve(
    target: Target,
    asked: Sequence[Callable[[], GenerateRequest | EmbedRequest | ScoreRequest]],
    by: Principal,
    still: Still,
) -> Reservation:
    _require(by, target)

    def ask() -> None:
        _require_same(target)
        audit.note(actor=by.actor, action="model.ask", target=target.model)

    await _in_scope(target, ask)
    client = ServingClient(settings.SERVING_SOCKET)
    try:
        requests = [make() for make in asked]
        coming = asyncio.ensure_future(client.measure(requests))
        await _until_there(coming, target, still, time.monotonic())
        cost = coming.result()
    except Fault as fault:
        raise told(fault) from fault
    costs.check_cost(cost, _limits())
    return tokens.reserve(
        tenant_id=target.tenant_id,
        per_minute=target.tokens_per_minute,
        amount=cost.tokens,
        answers=len(asked),
    )


async def generate(
    *,
    target: Target,
    generation: dict[str, Any],
    reserved: Reservation,
    by: Principal,
    still: Still = lambda: None,
) -> AsyncGenerator[Delta, None]:
    """What the serving process answers, as it comes. Outside any scope. Closing the generator
    cancels the work.

    Asks for the licence itself, at the beginning and again while the answer goes on, together with
    `still`, which raises when the caller may no longer be answered. `generation` are
    GenerateRequest's fields besides the model's; `reserved` was taken for it. Raises NotFound,
    Refused, ServingDown (503), TooManyWaiting (429), or UserFault for what the model cannot be
    asked.
    """
    begun = False
    try:
        _require(by, target)
        async with aclosing(_generate(target, generation, by, still)) as deltas:
            async for delta in deltas:
                begun = True
                if delta.usage is not None:
                    reserved.spend(delta.usage.prompt_tokens + delta.usage.completion_tokens)
                yield delta
    except Exception:
        # Not when the reader leaves: the prompt is being computed all the same
        if not begun:
            reserved.release()
        raise


async def _generate(
    target: Target, generation: dict[str, Any], by: Principal, still: Still
) -> AsyncGenerator[Delta, None]:
    client = ServingClient(settings.SERVING_SOCKET)
    request = _request(target, generation)
    asked = await _permitted(target, still)
    for attempt in range(ATTEMPTS):
        try:
            async with aclosing(client.generate(request)) as deltas:
                while True:
                    coming = asyncio.ensure_future(anext(deltas))
                    asked = await _until_there(coming, target, still, asked)
                    try:
                        yield coming.result()
                    except StopAsyncIteration:
                        return
        except Fault as fault:
            if fault.code != "adapter_not_loaded" or attempt == ATTEMPTS - 1:
                raise told(fault) from fault
        await _provide(client, target, by)
        asked = await _permitted_or_evicted(client, target, still)


def _require(by: Principal, target: Target) -> None:
    """Raises Refused without the scope to ask models, NotFound for another tenant's."""
    by.require(Scope.INFER)
    if by.tenant_id != target.tenant_id:
        raise no_such_model("model")


def _request(target: Target, generation: dict[str, Any]) -> GenerateRequest:
    if "messages" in generation and generation.get("thinking") is None:
        generation = generation | {"thinking": target.thinking}
    return GenerateRequest(
        tenant=str(target.tenant_id),
        base_path=str(target.base_path),
        base_digest=target.base_digest,
        adapter_digest=target.adapter_digest,
        limits=_limits(),
        **generation,
    )


def _limits() -> CostLimits:
    return CostLimits(tokens=settings.INFER_MAX_TOKENS, logprobs=settings.INFER_MAX_LOGPROBS)


async def _until_there(
    coming: "asyncio.Future[Any]", target: Target, still: Still, asked: float
) -> float:
    """When it was last seen that the target may answer: asked again while nothing comes, too, as
    who waits behind others may wait for long. What is coming is given up when it may not."""
    try:
        while True:
            due = asked + settings.ASK_AGAIN_SECONDS
            await asyncio.wait({coming}, timeout=max(_LEAST, due - time.monotonic()))
            if time.monotonic() > due:
                asked = await _permitted(target, still)
            if coming.done():
                return asked
    finally:
        if coming.cancel():
            await asyncio.wait({coming})


async def _permitted(target: Target, still: Still) -> float:
    """When it was seen that the target may answer. Raises NotFound, Refused, what `still` does."""
    asked = time.monotonic()

    def ask() -> None:
        still()
        _require_same(target)

    await _in_scope(target, ask)
    return asked


def _require_same(target: Target) -> None:
    """In the open scope. Raises NotFound, Refused."""
    found = resolve(name=target.model, withheld_too=target.withheld_too, scores=target.scores)
    if found != target:
        raise no_such_model("model")  # deleted, and another made under its name


async def _permitted_or_evicted(client: ServingClient, target: Target, still: Still) -> float:
    """The adapter is there: if its model was deleted on the way, nobody else would remove it."""
    try:
        return await _permitted(target, still)
    except Fault:
        await client.evict(str(target.tenant_id), adapter_digest=target.adapter_digest)
        raise


async def _provide(client: ServingClient, target: Target, by: Principal) -> None:
    def load() -> tuple[bytes, dict[str, Any]]:
        assert target.artifact_id is not None  # only adapters are provided
        artifact = selectors.artifacts().filter(id=target.artifact_id).first()
        if artifact is None:  # deleted since it was resolved
            raise no_such_model("model")
        return artifacts.load_adapter(artifact=artifact, by=by, withheld_too=target.withheld_too)

    weights, config = await _in_scope(target, load)
    assert target.adapter_digest is not None
    try:
        await client.load_adapter(
            target.base_path,
            target.adapter_digest,
            weights,
            config,
            tenant=str(target.tenant_id),
            base_digest=target.base_digest,
        )
    except Fault as fault:
        raise told(fault) from fault


async def _in_scope(target: Target, work: Callable[[], Any]) -> Any:
    def scoped() -> Any:
        try:
            with tenant_scope(target.tenant_id):
                return work()
        finally:
            release_connection()  # the answer may stream for minutes

    return await sync_to_async(scoped)()


def told(fault: Fault) -> Fault:
    """What passes by itself is a 503 or a 429, which clients try again; the rest stays as it is."""
    if fault.code == "too_many_waiting":
        return TooManyWaiting(fault.code, fault.message, fix=fault.fix)
    if fault.code not in _PASSING:
        return fault
    return ServingDown(
        fault.code,
        "The model server does not answer or is too busy.",
        fix="Try again in a moment.",
    )


def no_such_model(param: str | None) -> NotFound:
    return NotFound(
        "model_not_found",
        "The model does not exist, or you do not have access to it.",
        fix="`GET /v1/models` lists the models that you can use.",
        param=param,
    )


def _target(name: str, base: CatalogModel, artifact: Artifact | None, withheld_too: bool) -> Target:
    return Target(
        withheld_too=withheld_too,
        tenant_id=current_tenant_id(),
        model=name,
        base_path=settings.MODEL_STORE / base.path,
        base_digest=base.digest,
        context_length=base.context_length,
        artifact_id=artifact.id if artifact else None,
        adapter_digest=label(artifact.adapter_sha256 if artifact else None),
        tokens_per_minute=limits_of(Tenant.objects.get(id=current_tenant_id())).tokens,
        thinking=_trained_thinking(artifact) if artifact else None,
        family=base.family,
        scores=artifact is not None and artifact.scores,
    )


def _trained_thinking(artifact: Artifact) -> bool | None:
    """As its passport says; older ones, and those of bases without thinking, say nothing."""
    thinking = artifact.passport.get("hyperparameters", {}).get("thinking")
    return None if thinking is None else thinking == "on"
