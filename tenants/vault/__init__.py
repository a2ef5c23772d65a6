"""The tenant's isolated, encrypted object storage: stores, keys, and the vault over both.

It knows no database and no web framework: who may read what is decided above.
"""
