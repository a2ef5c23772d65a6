"""How people get in: signing in, second factors, sessions, passwords. One door for customers and
operators. What they may do once inside is not for here."""
