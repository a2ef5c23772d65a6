"""RunSpec in, events and weights out. No Django, no Celery, no tenants, no network."""
