"""Checking a customer's file of training rows: the whole file, every problem, within limits."""

from finetune.records.check.child import check_in_child
from finetune.records.check.codes import CODES
from finetune.records.check.spec import CheckReport, CheckSpec, Limits, Problem

__all__ = ["CODES", "CheckReport", "CheckSpec", "Limits", "Problem", "check_in_child"]
