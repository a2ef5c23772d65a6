"""Base-model import, artifact bundles, signing and verifying. No Django, no network at verify."""
