"""OpenAI's graders: the right value for known texts, and each failure told as what it is."""

import random
import subprocess
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from finetune.grading import formula, places, python_source, similarity, specs
from finetune.grading.grade import Graded, Judged, JudgeFailed, grade, sample_of
from finetune.grading.places import fill, require_places
from finetune.grading.python_grader import Ran

GRADER: TypeAdapter[Any] = specs.GRADER
# Each `finally` in a `finally` doubles what the compiler writes: gigabytes of it.
BOMB = "def grade(s, i): pass\n" + "".join(
    f"{' ' * n}try: a\n{' ' * n}finally:\n" for n in range(18)
) + " " * 18 + "a;" * 2000 + "\n"  # fmt: skip
ITEM = {"reference": "Paris", "nested": {"list": [1, {"a": "ä"}]}, "n": 2}


@dataclass
class Hands:
    score: float = 0.7
    ran: Ran = field(default_factory=lambda: Ran(score=0.25))
    asked: list[Any] = field(default_factory=list)

    def judge(self, spec: specs.ScoreModel, messages: list[dict[str, str]]) -> Judged:
        self.asked.append(messages)
        if self.score < 0:
            raise JudgeFailed("no score")
        return Judged(self.score, 12, spec.model)

    def reward(self, spec: specs.RewardModel, conversation: dict[str, Any]) -> Judged:
        self.asked.append(conversation)
        return Judged(self.score, 12, spec.model)

    def python(self, source: str, sample: dict[str, Any], item: Any) -> Ran:
        return self.ran


def graded(grader: dict[str, Any], answer: str, hands: Hands | None = None) -> Graded:
    spec = GRADER.validate_python({"name": "g"} | grader)
    return grade(spec, sample_of(answer), ITEM, hands or Hands())


def check(operation: str, reference: str = "{{ item.reference }}") -> dict[str, Any]:
    return {
        "type": "string_check", "operation": operation, "reference": reference,
        "input": "{{sample.output_text}}",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("operation", "answer", "reward"),
    [
        ("eq", "Paris", 1), ("eq", "paris", 0), ("ne", "paris", 1), ("ne", "Paris", 0),
        ("like", "It is Paris.", 1), ("like", "It is paris.", 0), ("ilike", "it is PARIS", 1),
    ],
)  # fmt: skip
def test_strings_are_compared(operation: str, answer: str, reward: float) -> None:
    assert graded(check(operation), answer).reward == reward


def test_places_take_paths_into_item_and_sample() -> None:
    spaces = {"item": ITEM, "sample": sample_of('{"city": "Paris", "n": [1, 2]}')}
    assert fill("{{ item.nested.list[1].a }} {{item.n}}", spaces) == "ä 2"
    assert fill("{{ sample.output_json.city }}/{{sample.output_json.n}}", spaces) == "Paris/[1, 2]"
    assert fill("no place {here}", spaces) == "no place {here}"
    for bad in ("{{ 1 + 1 }}", "{{ os.path }}", "{{ item.__class__() }}", "{{ }}"):
        with pytest.raises(ValueError, match="is no path"):
            require_places(bad)


def test_a_text_of_nothing_but_beginnings_of_places_takes_no_time() -> None:
    begun = time.process_time()
    beginnings = "{{" * 125_000  # minutes for a pattern that looks for each one's end
    assert fill(require_places(beginnings), {}) == beginnings
    assert time.process_time() - begun < 1


def test_places_cannot_multiply_a_long_answer_into_gigabytes() -> None:
    told = graded(check("eq", "{{item.n}}" + "{{sample.output_text}}" * 5000), "x" * 500_000)
    assert (told.reward, told.errors.kinds) == (0.0, {"other_error"})
    assert str(places.LONGEST) in told.errors.details["other_error"]


@pytest.mark.parametrize("path", ["item.missing", "item.nested.list[7]", "sample.output_json.x"])
def test_a_place_that_is_not_there_is_told_and_gives_nothing(path: str) -> None:
    told = graded(check("eq", "{{ " + path + " }}"), "no JSON")
    assert (told.reward, told.errors.kinds) == (0.0, {"invalid_variable_error"})
    assert path in told.errors.details["invalid_variable_error"]


# Values by hand, and sacrebleu's and rapidfuzz's own for what they compute.
@pytest.mark.parametrize(
    ("metric", "text", "reference", "value"),
    [
        ("rouge_1", "the cat sat", "the cat sat down", 6 / 7),
        ("rouge_2", "the cat sat", "the cat sat down", 4 / 5),
        ("rouge_l", "the dog sat down", "the cat sat down", 3 / 4),
        ("rouge_1", "我爱北京", "我爱上海", 1 / 2),
        ("rouge_l", "", "x", 0.0),
        ("gleu", "the cat sat", "the cat sat", 1.0),
        ("gleu", "the cat", "the cat sat down", 3 / 10),
        ("fuzzy_match", "kitten", "sitting", 0.6153846),
        ("bleu", "the cat sat on the mat", "the cat sat on the mat", 1.0),
        ("bleu", "我爱北京天安门", "我爱北京天安门", 1.0),
    ],
)
def test_similarities_have_known_values(
    metric: str, text: str, reference: str, value: float
) -> None:
    assert similarity.METRICS[metric](text, reference) == pytest.approx(value, abs=1e-6)
    spec = {"type": "text_similarity", "evaluation_metric": metric, "input": text}
    assert graded(spec | {"reference": reference}, "").reward == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize(("metric", "characters"), [("rouge_l", 100_001), ("fuzzy_match", 4001)])
def test_a_text_too_long_to_compare_is_told(metric: str, characters: int) -> None:
    spec = {"type": "text_similarity", "evaluation_metric": metric, "reference": "x"}
    told = graded(spec | {"input": "{{ sample.output_text }}"}, "x" * characters)
    assert (told.reward, told.errors.kinds) == (0.0, {"other_error"})


@pytest.mark.parametrize("metric", ["cosine", "meteor"])
def test_what_is_not_offered_says_what_it_lacks(metric: str) -> None:
    with pytest.raises(ValidationError, match="needs"):
        graded({"type": "text_similarity", "evaluation_metric": metric, "input": "",
                "reference": ""}, "")  # fmt: skip


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a + 2 * b", 2.0), ("min(a, b) ^ 2", 0.25), ("-a + 10 / 4", 1.5), ("max(a, 0.2, b)", 1.0),
        ("max(a)", 1.0), ("min(b)", 0.5),
        ("2 ^ 3 ^ 2", 512.0), ("(a - b) * floor(1.9)", 0.5), ("sqrt(4) + abs(-1) + exp(0)", 4.0),
    ],
)  # fmt: skip
def test_formulas_are_arithmetic(text: str, value: float) -> None:
    assert formula.evaluate(text, {"a": 1.0, "b": 0.5}) == pytest.approx(value)


@pytest.mark.parametrize(
    "text",
    ["__import__('os')", "a.real", "c", "a if b else 0", "[a]", "'x'", "lambda: 1", "min()",
     "sqrt(1, 2)", "a and b", "True", "a(1)", "(" * 500 + "a" + ")" * 500, "min + 1",
     "a(b)", "min(max)"],
)  # fmt: skip
def test_anything_else_is_no_formula(text: str) -> None:
    with pytest.raises(ValueError, match="calculate_output"):
        formula.parse(text, frozenset("ab"))


@pytest.mark.parametrize("text", ["1 / (a - a)", "9 ^ 9 ^ 9", "log(0)", "sqrt(-1)", "exp(1000)"])
def test_a_formula_without_a_value_says_so_and_takes_no_time(text: str) -> None:
    with pytest.raises(ValueError, match="has no"):
        formula.evaluate(text, {"a": 1.0})


def test_a_multi_grader_gives_each_score_and_the_formulas() -> None:
    question = {"role": "user", "content": "Rate {{ sample.output_text }}"}
    parts = {
        "exact": {"name": "e", **check("eq")},
        "judge": {"name": "j", "type": "score_model", "model": "m", "input": [question]},
        "code": {"name": "c", "type": "python", "source": "def grade(s, i): return 1"},
    }
    hands = Hands()
    multi = {"type": "multi", "graders": parts, "calculate_output": "exact + judge * code"}
    told = graded(multi, "Paris", hands)
    assert told.scores == {"exact": 1.0, "judge": 0.7, "code": 0.25}
    assert told.reward == pytest.approx(1.175)
    assert told.tokens == {"m": 12}
    assert hands.asked == [[{"role": "user", "content": "Rate Paris"}]]
    failed = graded(multi, "Paris", Hands(score=-1, ran=Ran(error="line 3")))
    assert failed.errors.kinds == {"model_grader_parse_error", "python_grader_runtime_error"}
    assert failed.scores == {"exact": 1.0, "judge": 0.0, "code": 0.0}


def test_a_judge_cannot_score_beyond_its_range() -> None:
    question = {"role": "user", "content": [{"type": "input_text", "text": "x"}, "y"]}
    spec = {"type": "score_model", "model": "m", "range": [1, 5], "input": [question]}
    hands = Hands(score=9)
    assert graded(spec, "", hands).reward == 5
    assert hands.asked == [[{"role": "user", "content": "xy"}]]
    with pytest.raises(ValidationError, match="range"):
        graded(spec | {"range": [1, 1]}, "")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def grade(s, i) return 1", "line 1"),
        ("score = 1", "defines no function grade"),
        ("def grade(s, i): return '\ud800'", "surrogates not allowed"),
        (BOMB, "takes too much to compile"),
        ("def grade(sample, item):\n    return 1\n#" + "x" * (256 * 1024), "more than 256 kB"),
    ],
)
def test_source_that_is_no_grader_is_refused_before_anything_runs(source: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        graded({"type": "python", "source": source}, "")


def test_a_source_that_compiled_is_compiled_once_and_one_that_did_not_every_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sound, broken = f"def grade(s, i): return {random.random()}", "def grade("
    ran: list[Any] = []
    run = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: ran.append(k["input"]) or run(*a, **k))
    for _ in range(2):
        python_source.require_python(sound)
        with pytest.raises(ValueError, match="line 1"):
            python_source.require_python(broken)
    assert ran == [sound.encode(), broken.encode(), broken.encode()]


REWARD: dict[str, Any] = {"type": "reward_model", "model": "ft:m"}


@pytest.mark.parametrize(
    ("told", "raw", "reward"),
    [
        ({}, 0.0, 0.5), ({}, 2.0, 0.880797), ({}, -2.0, 0.119203), ({"offset": 2}, 2.0, 0.5),
        ({}, 1e9, 1.0), ({}, -1e9, 0.0), ({"scale": "none"}, 2.5, 2.5),
        ({"scale": "none", "offset": 1.5}, 2.5, 1.0), ({"scale": "none"}, -99.0, -10.0),
        ({"scale": "none", "limit": 200}, 150.0, 150.0),
    ],
)  # fmt: skip
def test_a_reward_models_raw_score_is_bounded(
    told: dict[str, Any], raw: float, reward: float
) -> None:
    found = grade(
        GRADER.validate_python({"name": "g"} | REWARD | told),
        sample_of("Paris"), {"prompt": "Where?"}, Hands(score=raw),
    )  # fmt: skip
    assert found.reward == pytest.approx(reward, abs=1e-6)
    assert found.tokens == {"ft:m": 12}


ASKED = {"role": "user", "content": "Where?"}
SAID = {"role": "assistant", "content": "Paris"}


@pytest.mark.parametrize(
    ("told", "sample", "item", "shown"),
    [
        ({}, {}, {"messages": [ASKED]}, {"messages": [ASKED, SAID]}),
        ({}, {}, {"messages": [ASKED, {"role": "assistant", "content": "?"}], "tools": [{}]},
         {"messages": [ASKED, SAID], "tools": [{}]}),
        ({}, {"input": [ASKED, SAID, ASKED]}, {"messages": [SAID]},
         {"messages": [ASKED, SAID, ASKED, SAID]}),
        ({}, {"output_tools": [{"id": "1"}]}, {"question": "Where?"},
         {"messages": [ASKED, SAID | {"tool_calls": [{"id": "1"}]}]}),
        ({"input": [{"role": "user", "content": "{{ item.q }}"},
                    {"role": "assistant", "content": "{{ sample.output_text }}"}]},
         {}, {"q": "Where?"}, {"messages": [ASKED, SAID]}),
        ({}, {}, {"messages": [5]}, None),
        ({}, {}, {"messages": "Where?"}, None),
        ({}, {}, {"prompt": 5}, None),
        ({}, {}, [], None),
        ({"input": [{"role": "assistant", "content": "{{ item.q }}"}]}, {}, {}, None),
    ],
)  # fmt: skip
def test_a_reward_model_is_shown_the_conversation(
    told: dict[str, Any], sample: dict[str, Any], item: Any, shown: Any
) -> None:
    hands = Hands()
    spec = GRADER.validate_python({"name": "g"} | REWARD | told)
    found = grade(spec, sample_of("Paris") | sample, item, hands)
    assert hands.asked == ([] if shown is None else [shown])
    assert found.errors.kinds == ({"invalid_variable_error"} if shown is None else set())


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"limit": 5}, "limit goes with"),
        ({"scale": "none", "limit": 0}, "greater than 0"),
        ({"input": [{"role": "user", "content": "x"}]}, "is the assistant's"),
        ({"range": [0, 1]}, "not permitted"),
    ],
)
def test_a_reward_model_grader_that_says_nothing_is_refused(
    told: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        GRADER.validate_python({"name": "g"} | REWARD | told)
