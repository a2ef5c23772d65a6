"""Whose turn it is among tenants: what each has waiting, and how much was done for it.

Rows are shared first: who holds fewest comes first. Between equals it is the one for whom the model
read and wrote fewest tokens (the virtual token counter of Sheng et al. 2024, "Fairness in Serving
Large Language Models": a deficit round robin that need not know an answer's length beforehand).
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping

from finetune.serving.prompt import Prompt, over


class Turns:
    """Used by the model thread; `rows` may be read from any."""

    def __init__(self) -> None:
        self.rows: Counter[str] = Counter()  # choices that wait, by tenant
        self._waiting: dict[str, deque[Prompt]] = {}
        self._worked: Counter[str] = Counter()  # tokens, by tenant

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def places(self) -> Counter[str]:
        """In the queue, by tenant."""
        return self.rows.copy()  # the model thread goes on changing it

    def join(self, prompt: Prompt, busy: Iterable[str]) -> None:
        """Queue a new prompt. Who had nothing to do saved nothing up meanwhile: it starts level
        with the least served of `busy`, the tenants that are being answered or wait."""
        tenant, others = prompt.tenant, set(busy) | set(self._waiting)
        if others and tenant not in others:
            least = min(self._worked[other] for other in others)
            self._worked[tenant] = max(self._worked[tenant], least)
        self._waiting.setdefault(tenant, deque()).append(prompt)
        self.rows[tenant] += len(prompt.choices)

    def put_back(self, prompt: Prompt) -> None:
        """Queue again, before all others of its tenant, what was put off."""
        queue = self._waiting.setdefault(prompt.tenant, deque())
        self.rows[prompt.tenant] += len(prompt.choices)
        if queue and queue[0].ticket is prompt.ticket and queue[0].fresh and prompt.fresh:
            queue[0].choices = prompt.choices + queue[0].choices  # read together after all
        else:
            queue.appendleft(prompt)

    def order(self, held: Mapping[str, int]) -> list[Prompt]:
        """The first prompt of each waiting tenant; `held`: rows that each holds now."""
        tenants = sorted(self._waiting, key=lambda tenant: (held[tenant], self._worked[tenant]))
        return [self._waiting[tenant][0] for tenant in tenants]

    def take(self, prompt: Prompt, count: int) -> Prompt:
        """Let the first `count` choices of a tenant's first prompt begin."""
        tenant = prompt.tenant
        self.rows[tenant] -= count
        if count < len(prompt.choices):
            return prompt.split(count)
        self._waiting[tenant].popleft()
        self._forget_if_empty(tenant)
        return prompt

    def charge(self, tenant: str, tokens: int) -> None:
        self._worked[tenant] += tokens

    def drop_done(self) -> None:
        """Let go of what was cancelled, or failed in another row of the same ticket."""
        for tenant, queue in list(self._waiting.items()):
            if any(over(prompt.ticket) for prompt in queue):
                left = deque(prompt for prompt in queue if not over(prompt.ticket))
                self._waiting[tenant] = left
                self.rows[tenant] = sum(len(prompt.choices) for prompt in left)
                self._forget_if_empty(tenant)

    def prompts(self) -> list[Prompt]:
        return [prompt for queue in self._waiting.values() for prompt in queue]

    def _forget_if_empty(self, tenant: str) -> None:
        if not self._waiting[tenant]:
            del self._waiting[tenant], self.rows[tenant]
