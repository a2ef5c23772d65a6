"""Evaluations: a model asked a suite's questions, graded, and weighed against its base."""
