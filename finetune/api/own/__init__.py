"""Our own API: what OpenAI's wire has no words for. Described by the OpenAPI document it serves."""
