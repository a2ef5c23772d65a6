"""Load a base and adapters once, answer chat and completion requests in batches. No Django."""
