"""Minings of hard negatives: asked for and cancelled."""

from finetune.mining.negatives import MiningOptions
from finetune.models import Mining
from finetune.services.mining.making import MINE, without_parts
from finetune.services.mining.subjects import embedder, pairs_of, texts_of
from finetune.states import LIVE_LEASES
from finetune.work import leases, nudges
from finetune.work.turns import require_turn
from tenants.access import Principal
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services import audit

MOST_WAITING = 20  # minings of a tenant that have not ended


def request_mining(
    *,
    file: StoredFile,
    corpus: StoredFile | None,
    model: str,
    options: MiningOptions,
    by: Principal,
) -> Mining:
    """Each call makes a new file, once its worker is done. In the open scope.

    Raises Refused without the scopes to read files, to bring them and to ask models, or the licence
    to serve; NotFound for a model that is not the tenant's to ask; UserFault for a file of other
    rows, or whose check has not ended well, and for a model that makes no vectors; TooManyLive.
    """
    for each in (file, *([corpus] if corpus else [])):
        by.require_of(Scope.FILES_READ, each)
    by.require_of(Scope.FILES_WRITE, file)
    by.require(Scope.INFER)
    lock(f"minings:{current_tenant_id()}")
    pairs_of(file)
    if corpus is not None:
        texts_of(corpus)
    embedder(model)
    require_turn(
        Mining,
        MOST_WAITING,
        code="too_many_minings",
        said=f"{MOST_WAITING} files of your organisation are waiting for negatives already.",
        retry_after=30,
    )
    mining = Mining.objects.create(
        file=file, corpus=corpus, model=model, options=options.model_dump(mode="json")
    )
    nudges.wake(Mining, mining.tenant_id, mining.id)
    audit.record(
        actor=by.actor,
        action="file.mine",
        target=file.public_id,
        data={"mining": mining.public_id, "model": model}
        | ({"corpus": corpus.public_id} if corpus else {}),
    )
    return mining


def cancel_mining(*, mining: Mining, by: Principal) -> Mining:
    """At once while nobody works on it, else when its worker has seen it; one that has ended stays
    as it is."""
    by.require_of(Scope.FILES_WRITE, mining)
    if mining.state in LIVE_LEASES and mining.cancel_requested_at is None:
        audit.record(
            actor=by.actor,
            action="mining.cancel",
            target=mining.file.public_id,
            data={"mining": mining.public_id},
        )
        leases.cancel(MINE, key=mining.id)
        mining.refresh_from_db()
        if mining.state not in LIVE_LEASES:
            Mining.objects.filter(id=mining.id).update(**without_parts(mining))
    return mining
