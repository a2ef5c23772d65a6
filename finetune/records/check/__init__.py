"""Checking a customer's file of training rows: the whole file, every problem, within limits.

Imports nothing: who only names a kind of row or a limit does not wait for what reads files.
"""
