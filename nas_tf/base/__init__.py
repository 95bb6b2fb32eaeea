"""What everything stands on: errors, files, run folders, checkpoints, progress, command lines."""
