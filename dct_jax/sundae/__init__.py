"""SUNDAE: a prior that denoises all codes of a grid at once, again and again."""
