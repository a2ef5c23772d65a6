"""OpenAI's wire to the letter: what the unmodified `openai` package sends and reads."""
