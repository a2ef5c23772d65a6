"""The parts of a grader that ask a model, and how often they may at once."""

from faults import UserFault
from finetune.grading import specs

MOST = 1024  # questions about the answers of a step, or of an evaluation


def judges_in(spec: "specs.Grader") -> list[specs.Asking]:
    """The parts that ask a model, in their order."""
    return [part for part in specs.parts_of(spec) if isinstance(part, specs.Asking)]


def require_few(parts: int, answers: int) -> None:
    """Raises UserFault where so many parts would ask too often what that many answers are worth."""
    if parts * answers > MOST:
        raise UserFault(
            "too_many_judgements",
            f"Models would be asked {parts * answers} times at once what answers are worth; "
            f"{MOST} is the most.",
            param="method.reinforcement.grader",
            fix="Lower batch_size, num_generations or the rows of the validation file, or let "
            "fewer parts of the grader ask a model.",
        )
