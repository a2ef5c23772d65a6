"""Models that judge in a pipeline's stages: whose reward model it may be, who may ask, and that a
stage is rewarded by what an earlier stage made."""

from typing import Any

import pytest

from faults import UserFault
from finetune.models import Artifact, Job, Pipeline, Stage
from finetune.services.jobs.validation import reading_for
from finetune.services.models.artifacts import delete_model
from finetune.services.pipelines import lifecycle
from finetune.services.pipelines.request import PipelineRequest, StageRequest, wrong_stages
from finetune.services.pipelines.told import told
from finetune.services.runs import shape
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, Refused
from tenants.models import License
from tenants.rights import Right
from tenants.roles import Role, Scope
from tests.finetune.api.test_dpo import preferences
from tests.finetune.services.pipelines import test_pipelines as pipelines
from tests.fixtures.jobs import Bench, chat_rows, jsonl
from tests.fixtures.principals import somebody

pytestmark = pytest.mark.django_db
PROMPTS = [
    {"messages": [{"role": "user", "content": f"lamp {n}"}], "letter": "e"} for n in range(8)
]
ALONE: Any = {"type": "reward_model", "name": "r", "model": "stage:2"}
MULTI: Any = {
    "type": "multi", "name": "m", "calculate_output": "0.5 * good + 0.5 * e",
    "graders": {"good": ALONE, "e": {
        "type": "string_check", "name": "e", "operation": "like",
        "input": "{{ sample.output_text }}", "reference": "{{ item.letter }}"}},
}  # fmt: skip
SPEC: Any = {
    "method": "reinforcement", "batch_size": 4, "max_length": 64, "packing": False,
    "adapter": {"r": 8, "alpha": 16, "targets": "all-linear", "dropout": 0.0, "use_dora": False},
}  # fmt: skip
DRAWS = {"max_completion_tokens": 8, "num_generations": 2}


def asked(bench: Bench, *methods: str, grader: Any = ALONE, model: str = "tiny") -> PipelineRequest:
    rows = {
        "supervised": jsonl(chat_rows(8)), "reward": preferences(), "reinforcement": jsonl(PROMPTS),
    }  # fmt: skip
    more = {"reinforcement": {"grader": grader, "settings": DRAWS, "max_length": 64}}
    stages = [
        StageRequest(job=bench.request(
            model=model, method=method, file=bench.add_file(rows[method]),
            hyperparameters={"n_epochs": 1, "batch_size": 4},
            **more.get(method, {}),
        ))
        for method in methods
    ]  # fmt: skip
    return PipelineRequest(stages=tuple(stages))


def make(bench: Bench, request: PipelineRequest, by: Principal | None = None) -> Pipeline:
    with tenant_scope(bench.tenant.id):
        return lifecycle.create_pipeline(request=request, by=by or somebody(bench.tenant.id))


def made(bench: Bench, pipeline: Pipeline, number: int, *, family: str = "causal_lm") -> Artifact:
    """What the stage's job left."""
    found = pipelines.succeed(bench, pipelines.job_of(bench, pipeline, number))
    with tenant_scope(bench.tenant.id):
        found.passport = found.passport | {"family": family}
        found.save(update_fields=["passport"])
    pipelines.advance(bench, pipeline)
    return found


def test_a_stage_is_rewarded_by_the_reward_model_of_another(bench: Bench) -> None:
    request = asked(bench, "supervised", "reward", "reinforcement", grader=MULTI)
    pipeline = make(bench, request)
    pipelines.advance(bench, pipeline)
    assert all(each.trained_tokens for each in pipelines.stages(bench, pipeline)), "all reserved"
    with tenant_scope(bench.tenant.id):
        assert told(pipeline)["stages"][2]["judges"] == ["stage:2"]
    writer = made(bench, pipeline, 1)
    rewarder = made(bench, pipeline, 2, family="scoring")
    last = pipelines.job_of(bench, pipeline, 3)
    assert last.parent_id == writer.id, "a reward model writes nothing to go on from"
    parts = last.requested["grader"]["graders"]
    assert parts == MULTI["graders"] | {"good": ALONE | {"model": rewarder.model_name}}
    with tenant_scope(bench.tenant.id):
        assert told(pipeline)["stages"][2]["judges"] == [rewarder.model_name]
        with pytest.raises(Conflict):
            delete_model(name=rewarder.model_name, actor="test")


def test_a_reward_model_at_first_leaves_the_model_to_go_on_from(bench: Bench) -> None:
    request = asked(bench, "reward", "reinforcement", grader=ALONE | {"model": "stage:1"})
    pipeline = make(bench, request)
    pipelines.advance(bench, pipeline)
    rewarder = made(bench, pipeline, 1, family="scoring")
    last = pipelines.job_of(bench, pipeline, 2)
    assert (last.parent_id, last.requested["model"]) == (None, "tiny")
    assert last.requested["grader"]["model"] == rewarder.model_name
    with pytest.raises(UserFault) as refused:
        make(bench, asked(bench, "reward", "supervised", model=rewarder.model_name))
    assert (refused.value.code, refused.value.param) == ("model_scores", "model")


@pytest.mark.parametrize("model", ["stage:1", "stage:3", "stage:9"])
def test_only_an_earlier_stage_s_reward_model_rewards(bench: Bench, model: str) -> None:
    request = asked(bench, "supervised", "reward", "reinforcement", grader=ALONE | {"model": model})
    assert [(each.code, each.param) for each in wrong_stages(request)] == [
        ("invalid_value", "stages.2.grader")
    ]


def judge(model: str) -> Any:
    asked = [{"role": "user", "content": "{{ sample.output_text }}"}]
    return {"type": "score_model", "name": "j", "model": model, "input": asked}


def test_a_stage_is_judged_by_the_text_model_of_another(bench: Bench) -> None:
    request = asked(bench, "supervised", "reinforcement", grader=judge("stage:1"))
    pipeline = make(bench, request)
    pipelines.advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        assert told(pipeline)["stages"][1]["judges"] == ["stage:1"]
    writer = made(bench, pipeline, 1)
    last = pipelines.job_of(bench, pipeline, 2)
    assert last.requested["grader"] == judge(writer.model_name)
    shapes = []
    for named in ("stage:1", writer.model_name):
        last.resolved = {"spec": SPEC | {"grader": judge(named)}}
        with tenant_scope(bench.tenant.id):
            last.training_data = reading_for(last, last.training_file)
            shapes.append(shape.settings_of(last)["graders"])
    assert shapes == [[["score_model", "tiny"]]] * 2, "what is shared names no model of a tenant's"
    with tenant_scope(bench.tenant.id), pytest.raises(Conflict):
        delete_model(name=writer.model_name, actor="test")
    no_asker = somebody(bench.tenant.id, Role.ENGINEER, {Scope.JOBS_WRITE})
    with pytest.raises(Refused):
        make(bench, request, no_asker)
    with tenant_scope(bench.tenant.id):
        License.objects.update(rights=[Right.TRAIN])
    with pytest.raises(Refused) as unlicensed:
        make(bench, request)
    assert unlicensed.value.param == "stages.1.grader"


@pytest.mark.parametrize("model", ["stage:2", "stage:3", "stage:9"])
def test_only_an_earlier_stage_s_text_model_judges(bench: Bench, model: str) -> None:
    request = asked(bench, "supervised", "reward", "reinforcement", grader=judge(model))
    (found,) = wrong_stages(request)
    assert (found.code, found.param) == ("invalid_value", "stages.2.grader")
    assert "makes no model that writes" in found.message


def test_who_makes_or_retries_it_must_be_let_to_have_models_asked(bench: Bench) -> None:
    request = asked(bench, "supervised", "reward", "reinforcement")
    no_asker = somebody(bench.tenant.id, Role.ENGINEER, {Scope.JOBS_WRITE})
    with pytest.raises(Refused) as refused:
        make(bench, request, no_asker)
    assert refused.value.param is None or refused.value.param.startswith("stages.2")
    with pytest.raises(Refused):
        make(bench, asked(bench, "supervised", "reinforcement", grader=judge("tiny")), no_asker)
    pipeline = make(bench, asked(bench, "supervised", "reinforcement", grader=judge("tiny")))
    pipelines.advance(bench, pipeline)
    made(bench, pipeline, 1)
    assert pipelines.job_of(bench, pipeline, 2).requested["grader"]["model"] == "tiny"
    with tenant_scope(bench.tenant.id):
        Pipeline.objects.update(state="failed")
        Stage.objects.filter(number=2).update(job=None)
        Job.objects.filter(method="reinforcement").update(state="failed")
        with pytest.raises(Refused):
            lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=no_asker)
    with tenant_scope(bench.tenant.id):
        License.objects.update(rights=[Right.TRAIN])
    with pytest.raises(Refused) as unlicensed:
        make(bench, request)
    assert unlicensed.value.param == "stages.2.grader"


@pytest.mark.parametrize("grader", [ALONE, judge("stage:1")])
def test_a_job_by_itself_has_no_stages(bench: Bench, grader: Any) -> None:
    with pytest.raises(UserFault) as refused:
        bench.create(
            file=bench.add_file(jsonl(PROMPTS)), method="reinforcement", grader=grader,
            settings=DRAWS, by=somebody(bench.tenant.id),
        )  # fmt: skip
    assert (refused.value.code, refused.value.param) == ("invalid_value", "grader")
