"""How good answers are: marked one by one, with an interval, and two models on the same questions.

Pure: no model, no Django. Who asks the questions is no matter of this package.
"""
