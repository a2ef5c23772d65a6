"""Formats, parsing and checking of training rows, and their encoding to tokens. No Django."""
