"""DQ-Transformer: a prior over codes of several sizes that says by turns where a code is and which
(Huang et al., 2023)."""
