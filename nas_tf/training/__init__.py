"""What the training loops share: optimizers, schedules, checkpoints, metric log, progress."""
