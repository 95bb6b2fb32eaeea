"""From a fine-tuned network to a checked int8 file: convert, evaluate, benchmark, report."""
