"""Runs of any systems side by side: what is measured of a model, tables and figures of that."""
