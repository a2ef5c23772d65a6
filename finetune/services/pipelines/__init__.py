"""Stages of training in a row: asked for, advanced one by one, steered as a whole."""
