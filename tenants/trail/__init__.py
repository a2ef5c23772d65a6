"""The audit trail's proofs, without Django: entries linked, heads signed, exports checked."""
