"""Which plan this machine gets: it trains a few steps and answers a few questions first."""

from collections.abc import Callable
from pathlib import Path

from openai import OpenAI
from rich.console import Console

from privatune.cli.progress import duration
from privatune.demo.asking import AT_A_TIME, Answers, ask
from privatune.demo.opening import MODEL, Rows
from privatune.demo.phases import Phase
from privatune.demo.plans import PROMISED_SECONDS, VARIABLE, Plan, Speed, choose, forced, seconds
from privatune.demo.probe import at, training_speed

NO_ANSWERS = Answers([], 0, 0.0)


def make_plan(
    openai: OpenAI,
    base_folder: Path,
    rows: Rows,
    folder: Path,
    console: Console,
    *,
    spent: Callable[[], float],
) -> tuple[Plan, Answers]:
    """The plan, and the base's answers to the first questions, which were needed to find it.

    `spent` are the seconds since the demo began. Raises DemoFailed, NoSuchPlan.
    """
    if (plan := forced()) is not None:
        console.print(f"{VARIABLE} asks for: {plan.words}", soft_wrap=True)
        return plan, NO_ANSWERS
    probe = folder / "probe"
    with Phase(console, lambda: at(probe)):
        trained = training_speed(base_folder, rows.train, probe)
    loaded = ask(openai, MODEL, rows.heldout[:1], console, who="base, loaded first")
    timed = ask(openai, MODEL, rows.heldout[1 : 1 + AT_A_TIME], console, who="base")
    speed = Speed(trained.tokens_per_second, timed.tokens / timed.seconds, trained.start)
    left = PROMISED_SECONDS - spent()
    plan = choose(speed, left)
    needed = seconds(plan, speed)
    console.print(
        f"training {speed.training:.0f} tokens/s in {trained.precision}, "
        f"answering {speed.answering:.0f} tokens/s",
        soft_wrap=True,
    )
    console.print(f"so: {plan.words}; about {duration(needed)} more", soft_wrap=True)
    if needed > left:
        console.print(
            f"That is the shortest there is, and {duration(needed - left)} longer than the "
            f"{duration(PROMISED_SECONDS)} the demo aims at: this machine is slow, or busy.",
            soft_wrap=True,
        )
    return plan, loaded + timed
