"""Lets a tenant ask its models: resolves a name to base and adapter, and speaks to the serving
process, which holds no data of its own. Never answers with another model than the one asked for."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from finetune import selectors
from finetune.errors import OurFault
from finetune.models import Artifact, CatalogModel
from finetune.services import artifacts
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Delta, GenerateRequest
from tenants.errors import NotFound
from tenants.models import License
from tenants.services.licences import Right, require_license

LoadAdapter = Callable[[], Awaitable[tuple[bytes, dict[str, Any]]]]

ATTEMPTS = 3  # an adapter just sent may be put out again by others before it is asked


class ServingDown(OurFault):
    status = 503


@dataclass(frozen=True)
class Target:
    """What answers. `adapter_digest` None: the plain base. Usable outside the tenant's scope."""

    model: str
    base_path: Path
    base_digest: str
    context_length: int
    artifact_id: UUID | None
    adapter_digest: str | None

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


def resolve(*, name: str) -> Target:
    """Base and adapter of a model, if the tenant may have it served now. In the open scope.

    Raises NotFound for an unknown or foreign model, Refused (403) without the licence to serve.
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
    return _target(name, base, found if isinstance(found, Artifact) else None)


def load_adapter(*, artifact_id: UUID) -> tuple[bytes, dict[str, Any]]:
    """The adapter's weights (safetensors) and PEFT config, from the vault. In the open scope."""
    artifact = selectors.artifacts().filter(id=artifact_id).first()
    if artifact is None:  # deleted since it was resolved
        raise no_such_model("model")
    return artifacts.load_adapter(artifact=artifact)


async def generate(
    *, target: Target, generation: dict[str, Any], load: LoadAdapter
) -> AsyncGenerator[Delta, None]:
    """What the serving process answers, as it comes. Outside any scope; `load` opens one if the
    process does not have the adapter. Closing the generator cancels the work.

    `generation` are GenerateRequest's fields besides the model's. Raises ServingDown (503), or
    UserFault for what the model cannot be asked.
    """
    client = ServingClient(settings.SERVING_SOCKET)
    request = GenerateRequest(
        base_path=str(target.base_path),
        base_digest=target.base_digest,
        adapter_digest=target.adapter_digest,
        **generation,
    )
    for attempt in range(ATTEMPTS):
        try:
            async with aclosing(client.generate(request)) as deltas:
                async for delta in deltas:
                    yield delta
                return
        except OurFault as fault:
            if fault.code != "adapter_not_loaded" or attempt == ATTEMPTS - 1:
                raise _told(fault) from fault
        await _provide(client, target, await load())


async def _provide(
    client: ServingClient, target: Target, adapter: tuple[bytes, dict[str, Any]]
) -> None:
    assert target.adapter_digest is not None
    weights, config = adapter
    try:
        await client.load_adapter(
            target.base_path,
            target.adapter_digest,
            weights,
            config,
            base_digest=target.base_digest,
        )
    except OurFault as fault:
        raise _told(fault) from fault


def _told(fault: OurFault) -> OurFault:
    """What passes by itself is a 503, which clients try again; the rest stays a 500."""
    if fault.code not in ("serving_unavailable", "overloaded", "shutting_down"):
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


def _target(name: str, base: CatalogModel, artifact: Artifact | None) -> Target:
    return Target(
        model=name,
        base_path=settings.MODEL_STORE / base.path,
        base_digest=base.digest,
        context_length=base.context_length,
        artifact_id=artifact.id if artifact else None,
        adapter_digest=f"sha256:{artifact.adapter_sha256}" if artifact else None,
    )
