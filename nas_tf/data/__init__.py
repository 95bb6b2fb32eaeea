"""One image pipeline for every stage: sources, splits, preprocessing, batches."""
