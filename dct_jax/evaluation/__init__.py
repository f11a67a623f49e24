"""How well a model knows pictures that it has not seen, and how near its samples are to them."""
