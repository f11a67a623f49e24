"""A prior over grids of codes: a transformer that sees a window of the cells before each."""
