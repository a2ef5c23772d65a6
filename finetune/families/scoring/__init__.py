"""Language models with a head that scores a whole answer: reward models."""
