"""Other forms of a model, made on request and given to who may have the base."""
