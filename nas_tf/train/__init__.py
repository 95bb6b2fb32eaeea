"""Training a network: the run, its optimizer, schedules and averages."""
