"""The training step and the loop around it. They know stages, and no system."""
