"""Answers held to a form: which JSON Schemas are taken, and the grammar that masks logits."""
