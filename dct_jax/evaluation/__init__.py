"""How well a model knows pictures that it has not seen."""
