"""What is in a tenant's rows: repetitions, held-out questions, scripts, personal data and
secrets. Pure."""
