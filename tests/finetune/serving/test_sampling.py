"""Drawing tokens: the right distribution, a seed that means something, true log-probabilities."""

import math
from collections import Counter

import pytest
import torch

from finetune.serving.preferences import Preferences
from finetune.serving.sampling import Sampler, sample, score, stream

LOGITS = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05]))


def draws(temperature: float, top_p: float, count: int = 4000) -> Counter[int]:
    sampler = Sampler(temperature, top_p, stream(1, 0))
    return Counter(sample(LOGITS[None], [sampler])[0] for _ in range(count))


def test_temperature_zero_takes_the_likeliest() -> None:
    assert draws(0.0, 1.0, 50) == {0: 50}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_come_as_often_as_the_tempered_distribution_says(temperature: float) -> None:
    expected = torch.softmax(LOGITS / temperature, 0).tolist()
    seen = draws(temperature, 1.0)
    for token, probability in enumerate(expected):
        deviation = math.sqrt(probability * (1 - probability) / 4000)
        assert abs(seen[token] / 4000 - probability) < 4 * deviation


@pytest.mark.parametrize(
    ("top_p", "kept"), [(0.0, {0}), (0.4, {0}), (0.5, {0}), (0.6, {0, 1}), (0.9, {0, 1, 2})]
)
def test_top_p_keeps_the_fewest_tokens_that_reach_it(top_p: float, kept: set[int]) -> None:
    assert set(draws(1.0, top_p, 500)) == kept


def test_top_p_beyond_the_first_candidates_is_exact() -> None:
    flat = torch.zeros(1, 1000)  # 0.9 needs 900 equal tokens, more than are tried first
    sampler = Sampler(1.0, 0.9, stream(3, 0))
    seen = {sample(flat, [sampler])[0] for _ in range(8000)}
    assert 880 < len(seen) <= 900


def test_a_row_draws_the_same_whatever_its_neighbours() -> None:
    alone = [sample(LOGITS[None], [Sampler(1.0, 1.0, stream(7, 0))])[0]]
    among = sample(
        LOGITS.expand(3, -1),
        [Sampler(1.0, 1.0, stream(s, 0)) for s in (1, 7, 2)],
    )
    assert among[1] == alone[0]


def test_seeds_and_choices_have_streams_of_their_own() -> None:
    first = [stream(seed, index).random() for seed in (1, 2) for index in (0, 1)]
    assert len(set(first)) == 4
    assert stream(1, 0).random() == first[0]
    assert stream(None, 0).random() != stream(None, 0).random()


def test_logprobs_are_of_the_plain_distribution() -> None:
    (scored,) = score(LOGITS[None] + 5, [2], top=3)
    assert math.isclose(scored.logprob, math.log(0.15), rel_tol=1e-5)
    assert [token for token, _ in scored.top] == [0, 1, 2]
    everything = score(LOGITS[None], [0], top=4)[0].top
    assert math.isclose(sum(math.exp(p) for _, p in everything), 1, rel_tol=1e-5)


def test_penalties_are_openais_formula_and_touch_one_row() -> None:
    preferences = Preferences(bias={3: 2.0, 1: -1.0}, frequency=0.5, presence=0.25)
    for token in (1, 1, 2):
        preferences.note(token)
    row = torch.zeros(4)
    preferences.move(row)
    assert row.tolist() == [0, -1 - 2 * 0.5 - 0.25, -0.5 - 0.25, 2.0]


def test_a_bias_decides_and_leaves_neighbours_and_logprobs_alone() -> None:
    plain, biased = (Sampler(0, 1, stream(1, 0)) for _ in range(2))
    biased.preferences = Preferences(bias={3: 100.0})
    assert sample(LOGITS.repeat(2, 1), [plain, biased]) == [0, 3]
    assert math.isclose(score(LOGITS[None], [3], top=0)[0].logprob, math.log(0.05), rel_tol=1e-5)


def test_the_least_temperatures_are_as_none() -> None:
    logits = torch.tensor([[0.1, 3.0, 2.9], [5.0, 1.0, 4.9]])
    for tiny in (5e-324, 1e-320, 1e-308, 1e-30):
        assert sample(logits.clone(), [Sampler(tiny, 1.0, stream(n, 0)) for n in range(2)]) == [
            1,
            0,
        ]
