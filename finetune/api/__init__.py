"""The HTTP faces: OpenAI's wire under /v1, our own API under /api/v1. Thin over the services."""
