"""Models that judge the answers of a training: asked beside it, once for each step, in the tenant's
own name; a judge that cannot be asked ends the attempt and says why."""

import json
import os
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from faults import Fault, OurFault, UserFault
from finetune.grading import specs
from finetune.grading.grade import Errors, Graded, sample_of
from finetune.models import Artifact, CatalogModel, Job, Run
from finetune.sandbox.levels import require
from finetune.services.jobs.judges import require_judges
from finetune.services.jobs.lifecycle import cancel_job
from finetune.services.jobs.validation import VALIDATE
from finetune.services.models import gateway, patience
from finetune.services.models.gateway import ServingDown
from finetune.services.models.graders import Judge
from finetune.services.runs import judging as module
from finetune.services.runs.grading import Keeper, kept
from finetune.services.runs.judging import Judging
from finetune.services.runs.lease import RunLease
from finetune.services.runs.training import TRAIN
from finetune.serving.protocol import Scored
from finetune.states import JobState
from finetune.trainer.generating import Answer
from finetune.trainer.lifeline import Stop
from finetune.trainer.rewards import ASKED, FOLDER, TOLD, Rewards
from finetune.trainer.spec import RunSpec
from finetune.work import leases
from finetune.work.perform import perform
from finetune.work.signals import Stopped
from tenants.access import Principal
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import NotFound, Refused
from tenants.models import AuditEntry
from tenants.roles import Role, Scope
from tenants.services.vaults import open_vault
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody
from tests.fixtures.waiting import until
from tests.rewarders import score_of, written

JUDGE: Any = {
    "type": "score_model", "name": "judge", "model": "tiny", "range": [1, 5],
    "input": [{"role": "user", "content": "Rate {{ sample.output_text }} for {{ item.letter }}."}],
    "sampling_params": {"seed": 7, "temperature": 1.0},
}  # fmt: skip
SAMPLES = [(sample_of(text), {"letter": "e"}) for text in ("eel", "cat", "hen")]


def never() -> None:
    """It goes on."""


def claimed(bench: Bench, grader: Any = JUDGE) -> Judging:
    return claimed_by(bench, grader)[0]


def claimed_by(bench: Bench, grader: Any = JUDGE) -> tuple[Judging, RunLease]:
    job = bench.create(
        file=bench.add_file(jsonl(rows(4))), method="reinforcement", grader=grader, max_length=128,
        by=somebody(bench.tenant.id), settings={"max_completion_tokens": 8},
    )  # fmt: skip
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.QUEUED, resolved={"trained_tokens": 1})
        Run.objects.create(job=job)
    lease = leases.claim(TRAIN, tenant_id=bench.tenant.id, key=job.id, worker="test")
    assert isinstance(lease, RunLease)
    with tenant_scope(bench.tenant.id):
        found = Judging.of(
            open_vault(), RunSpec(grader=grader), tenant_id=lease.tenant_id, job_id=lease.job_id
        )
    assert found is not None
    return found, lease


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {"messages": [{"role": "user", "content": f"Say it {n}"}], "letter": "e"}
        for n in range(count)
    ]


class Desk:
    """In the place of the graders: says how often it was asked, and answers or refuses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *faults: Exception) -> None:
        self.asked: list[dict[str, Any]] = []
        self.faults = list(faults)
        monkeypatch.setattr(module, "run_grader", self.run)

    async def run(self, **asked: Any) -> Graded:
        self.asked.append(asked)
        if self.faults:
            raise self.faults.pop(0)
        text = asked["sample"]["output_text"]
        return Graded(float(text.count("e")), 0.1, Errors(), {}, {"tiny": 9})


def test_what_was_judged_is_kept_and_not_asked_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, desk = claimed(bench), Desk(monkeypatch)
    told = judging.told(SAMPLES, never)
    assert told == [[[2.0, 9, None], [0.0, 9, None], [1.0, 9, None]]]
    assert len(desk.asked) == 3
    assert all(each["by"].scopes == {Scope.INFER} for each in desk.asked)
    desk.faults = [AssertionError("it is asked again")]
    assert judging.told(SAMPLES, never) == told
    assert len(desk.asked) == 3
    desk.faults = []
    judging.told([(sample_of("bee"), {"letter": "e"})], never)
    assert len(desk.asked) == 4


def test_an_answer_that_the_judge_cannot_read_stands_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    too_long = UserFault("context_length_exceeded", "The prompt is too long.")
    Desk(monkeypatch, too_long)
    ((first, *others),) = claimed(bench).told(SAMPLES, never)
    assert first == [0.0, 0, "The prompt is too long."]
    assert [each[2] for each in others] == [None, None]


REWARDER: Any = {"type": "reward_model", "name": "r", "model": "ft:r", "scale": "none"}


class Scales(Desk):
    """In the place of the model server: scores by length, and cannot read `unreadable`."""

    unreadable = "cat"

    async def score(self, **asked: Any) -> Scored:
        self.asked.append(asked)
        if self.faults:
            raise self.faults.pop(0)
        answers = [each["messages"][-1]["content"] for each in asked["conversations"]]
        if self.unreadable in answers:
            raise UserFault("context_length_exceeded", "It is too long.")
        return Scored(scores=[len(text) / 2 for text in answers], prompt_tokens=2 * len(answers))


def scaled(bench: Bench, monkeypatch: pytest.MonkeyPatch, *faults: Exception) -> Any:
    """A judging by a reward model, and who scores for it."""
    desk = Scales(monkeypatch, *faults)
    monkeypatch.setattr(gateway, "score", desk.score)
    judging = claimed(bench)
    target = replace(judging.targets["tiny"], model="ft:r", scores=True)
    parts = [specs.GRADER.validate_python(REWARDER)]
    return replace(judging, parts=parts, targets={"ft:r": target}), desk


def test_a_reward_model_scores_many_answers_in_one_request_and_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, desk = scaled(bench, monkeypatch)
    many = [(sample_of("e" * n), {"prompt": "x"}) for n in range(1, 41)]
    (told,) = judging.told(many, never)
    assert told == [[n / 2, 2, None] for n in range(1, 41)]
    assert sorted(len(each["conversations"]) for each in desk.asked) == [8, 32]
    assert judging.told(many, never) == [told]
    assert len(desk.asked) == 2, "a step that is done again learns from the same"


def test_one_conversation_that_cannot_be_scored_stands_alone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, _ = scaled(bench, monkeypatch)
    asked = [*SAMPLES, (sample_of("ox"), {"letter": "o"})]
    asked = [(sample, item | {"prompt": "x"}) for sample, item in asked[:3]] + asked[3:]
    (told,) = judging.told(asked, never)
    assert [each[0] for each in told] == [1.5, 0.0, 1.5, 0.0]
    assert [each[2] for each in told] == [None, "It is too long.", None, "item.messages"]


@pytest.mark.parametrize(
    "fault", [Refused("license_missing", "x"), NotFound("model_not_found", "x")]
)
def test_a_reward_model_that_may_not_be_asked_any_more_ends_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    judging, _ = scaled(bench, monkeypatch, fault)
    with pytest.raises(Fault) as raised:
        judging.told([(sample_of("eel"), {"prompt": "x"})], never)
    assert raised.value is fault


def test_a_judge_that_is_busy_is_waited_for(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.01)
    desk = Desk(monkeypatch, ServingDown("serving_unavailable", "away"))
    told = claimed(bench).told(SAMPLES, never)
    assert [each[2] for each in told[0]] == [None] * 3
    assert len(desk.asked) == 4


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (ServingDown("serving_unavailable", "away"), "serving_unavailable"),
        (Refused("license_missing", "It was taken back."), "license_missing"),
        (NotFound("model_not_found", "It was deleted."), "model_not_found"),
    ],
)
def test_a_judge_that_cannot_be_asked_ends_it_and_keeps_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, fault: Fault, code: str
) -> None:
    monkeypatch.setattr(patience, "PATIENCE", -1)
    judging, _ = claimed(bench), Desk(monkeypatch, fault)
    with pytest.raises(Fault) as raised:
        judging.told(SAMPLES, never)
    assert raised.value.code == code
    with tenant_scope(bench.tenant.id):
        assert list(open_vault().list(f"jobs/{judging.job_id}/")) == []


def test_too_many_answers_and_too_slow_a_judge_are_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, _ = claimed(bench), Desk(monkeypatch)
    with pytest.raises(UserFault, match="1024 is the most") as raised:
        judging.told(SAMPLES[:1] * 1025, never)
    assert raised.value.code == "too_many_judgements"
    monkeypatch.setattr(module, "SECONDS", 0)
    with pytest.raises(UserFault) as raised:
        judging.told(SAMPLES, never)
    assert raised.value.code == "judge_too_slow"


def test_who_ends_the_training_ends_the_asking(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    judging, desk = claimed(bench), Desk(monkeypatch)

    def ended() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        judging.told(SAMPLES, ended)
    assert desk.asked == []


class Judges:
    """In the place of Judging."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.fault = fault

    def told(self, samples: Any, still: Any) -> list[list[Any]]:
        if self.fault is not None:
            raise self.fault
        return [[[float(len(sample["output_text"])), 3, None] for sample, _ in samples]]


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return tmp_path


def keeper(run_dir: Path, grader: Any, judges: Any) -> Any:
    return kept(run_dir, RunSpec(grader=grader), require("require"), judges)


MULTI = {
    "type": "multi", "name": "both", "calculate_output": "p + j",
    "graders": {
        "j": JUDGE,
        "p": {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 10\n"},
    },
}  # fmt: skip


def test_the_training_process_gets_what_both_kinds_said(run_dir: Path) -> None:
    with keeper(run_dir, MULTI, Judges()):
        found = Rewards(MULTI, run_dir, Stop()).of(
            "1", [(Answer(text="eel"), {"letter": "e"}), (Answer(text="hello"), {"letter": "e"})]
        )
    assert [each.reward for each in found] == [13.0, 15.0]
    assert found[0].scores == {"j": 3.0, "p": 10.0}


def test_without_anybody_who_asks_it_the_run_does_not_begin(run_dir: Path) -> None:
    with pytest.raises(OurFault, match="asks the model that judges"):
        Rewards(JUDGE, run_dir, Stop())


@pytest.mark.parametrize("code", ["serving_unavailable", "license_missing"])
def test_the_attempt_ends_with_what_the_judge_lacked(run_dir: Path, code: str) -> None:
    family = OurFault if code == "serving_unavailable" else UserFault
    with keeper(run_dir, JUDGE, Judges(family(code, "away"))) as found:
        assert isinstance(found, Keeper)
        (run_dir / FOLDER / ".1").write_text(json.dumps({"samples": []}))
        os.replace(run_dir / FOLDER / ".1", run_dir / FOLDER / f"1{ASKED}")
        until(lambda: found._broken is not None, "it goes on")
        with pytest.raises(family, match="away") as raised:
            found.require()
    assert raised.value.code == code
    assert not (run_dir / FOLDER / f"1{TOLD}").exists()


def reader(bench: Bench) -> Principal:
    scopes = frozenset({Scope.JOBS_WRITE, Scope.FILES_READ})
    return Principal(bench.tenant.id, Actor.system("test"), scopes, Role.ENGINEER)


def test_a_judge_is_asked_for_by_who_may_ask_it(bench: Bench) -> None:
    wish: dict[str, Any] = {"file": bench.add_file(jsonl(rows(4))), "method": "reinforcement"}
    with pytest.raises(Refused, match="infer"):
        bench.create(**wish, grader=JUDGE, by=reader(bench))
    with pytest.raises(ValueError, match="in somebody's name"):
        bench.create(**wish, grader=JUDGE)
    for named in ("nobody", "ft:somebody:else"):
        with pytest.raises(NotFound) as missing:
            bench.create(**wish, grader=JUDGE | {"model": named}, by=somebody(bench.tenant.id))
        assert missing.value.param == "grader"


def test_too_many_judgements_are_refused_before_anything_is_drawn(bench: Bench) -> None:
    """Each part that asks a model asks about each answer."""
    both = {"type": "multi", "name": "m", "calculate_output": "a + b",
            "graders": {"a": JUDGE | {"name": "a"}, "b": JUDGE | {"name": "b"}}}  # fmt: skip
    wish: dict[str, Any] = {
        "file": bench.add_file(jsonl(rows(16))), "method": "reinforcement",
        "hyperparameters": {"batch_size": 16}, "max_length": 128, "by": somebody(bench.tenant.id),
    }  # fmt: skip
    short = {"max_completion_tokens": 8}
    for grader, generations, code in ((JUDGE, 64, None), (both, 64, "too_many_judgements")):
        job = bench.create(**wish, grader=grader, settings=short | {"num_generations": generations})
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        error = bench.job(job).error
        assert (error or {}).get("code") == code


def test_a_model_that_writes_nothing_is_no_judge(bench: Bench) -> None:
    with tenant_scope(bench.tenant.id):
        CatalogModel.objects.filter(name="tiny").update(family="embedding")
        with pytest.raises(UserFault) as refused:
            require_judges([Judge("tiny", scores=False)])
    assert (refused.value.code, refused.value.param) == ("model_embeds", "grader")


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_what_was_judged_goes_with_the_job_however_it_ends(
    committed: None, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """It stayed with a job that failed, and went with no file of it."""
    bench = new_bench(tiny_base)
    judging, lease = claimed_by(bench)
    Desk(monkeypatch)
    judging.told(SAMPLES, never)
    kept = f"jobs/{judging.job_id}/"
    with tenant_scope(bench.tenant.id):
        assert len(list(open_vault().list(kept))) == 1
        job = Job.objects.get(id=judging.job_id)
        if end == "cancelled":
            cancel_job(job_id=job.id, actor="test")
    if end == "failed":
        leases.fail(lease, fault=UserFault("grader_failed", "No."))
    else:
        leases.give_back(lease)
    with tenant_scope(bench.tenant.id):
        assert list(open_vault().list(kept)) == []


@pytest.fixture
def served(committed: None, model_server: Any, tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


@pytest.mark.slow
def test_a_job_learns_from_what_models_say_of_its_answers(
    served: Bench, tiny_base: Path, tmp_path: Path
) -> None:
    """One that writes, and a reward model, whose scores are those of its training."""
    bench = served
    model, folder = written(tiny_base, tmp_path / "adapter", 3)
    rewarder = REWARDER | {"model": given(bench, folder)}
    both: Any = {"type": "multi", "name": "both", "calculate_output": "j + r / 1000",
                 "graders": {"j": JUDGE, "r": rewarder}}  # fmt: skip
    job = bench.create(
        file=bench.add_file(jsonl(rows(4))), method="reinforcement", grader=both, max_length=128,
        hyperparameters={"n_epochs": 1, "batch_size": 2}, by=somebody(bench.tenant.id),
        settings={"max_completion_tokens": 8, "num_generations": 2},
    )  # fmt: skip
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        metrics = list(job.events.filter(type="metrics").values_list("data", flat=True))
        asked = AuditEntry.objects.filter(action="model.ask", target="tiny")
        assert asked.get().actor == "system:worker"
        assert AuditEntry.objects.filter(action="model.ask", target=rewarder["model"]).exists()
        samples = [
            json.loads(line)
            for row in job.step_samples.all()
            for line in open_vault().read_bytes(row.object_name).splitlines()
        ]
        assert list(open_vault().list(f"jobs/{job.id}/")) == [], "what was judged goes at the end"
    assert len(metrics) == 2
    assert all(0.99 <= each["train_reward"] <= 5.01 for each in metrics)
    assert len(samples) == 8
    for each in samples:
        said = {"role": "assistant", "content": each["text"]}
        asked_for = {"role": "user", "content": f"Say it {each['row'] - 1}"}
        raw = score_of(model, tiny_base, asked_for, said)
        assert each["scores"]["r"] == pytest.approx(raw, abs=0.5)  # narrow where it is served


def given(bench: Bench, folder: Path) -> str:
    """The adapter in that folder as a reward model of the tenant's; its name."""
    job = bench.create(file=bench.add_file(jsonl(chat_rows(4))))
    weights = (folder / "adapter_model.safetensors").read_bytes()
    with tenant_scope(bench.tenant.id):
        open_vault().put_bytes(f"artifacts/{job.id}/adapter", weights)
        made = Artifact.objects.create(
            job=job, base=bench.base, digest="sha256:1", passport={"family": "scoring"},
            adapter_sha256=sha256(weights).hexdigest(), model_name=f"ft:tiny:{job.id.hex[:8]}",
            bundle_object="b", bundle_bytes=1, bundle_sha256="d",
            adapter_object=f"artifacts/{job.id}/adapter",
            adapter_config=json.loads((folder / "adapter_config.json").read_bytes()),
        )  # fmt: skip
    return made.model_name
