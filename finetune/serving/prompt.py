"""What waits for the model: choices of one ticket that begin with the same tokens."""

from dataclasses import dataclass, field

from finetune.serving.choice import Choice
from finetune.serving.sampling import Scored
from finetune.serving.ticket import Ticket


@dataclass(eq=False)
class Prompt:
    """Read once, then its choices continue apart."""

    ticket: Ticket
    choices: list[Choice]
    read: int = 0
    scores: list[Scored] = field(default_factory=list)  # of an echoed prompt's tokens

    @property
    def tenant(self) -> str:
        return self.ticket.request.tenant

    @property
    def ids(self) -> list[int]:
        return self.choices[0].ids

    @property
    def fresh(self) -> bool:
        """Not put off before: its prompt has yet to be echoed."""
        return self.choices[0].generated == 0

    def split(self, count: int) -> "Prompt":
        """Takes the first `count` choices out, as a prompt of their own, still to be read."""
        taken, self.choices = self.choices[:count], self.choices[count:]
        return Prompt(self.ticket, taken)


def over(ticket: Ticket) -> bool:
    return ticket.cancelled or ticket.done
