"""Decoder-only language models: general, code, writing and dialogue."""
