"""The lease of a run, by the names that its work knows it by."""

from uuid import UUID

from finetune.work.kinds import Lease


class RunLease(Lease):
    @property
    def job_id(self) -> UUID:
        return self.key

    @property
    def run_id(self) -> UUID:
        return self.row_id
