"""The demo of vectors: a small real base learns which kind of call a spoken command asks for."""
