"""The operator's commands. They call the services in this process, not over HTTP."""
