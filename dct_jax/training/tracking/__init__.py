"""Where people look at the numbers and pictures of a run: TensorBoard, MLflow, W&B."""
