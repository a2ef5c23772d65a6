"""Runs: one attempt at a job, from the claim to what it leaves."""
