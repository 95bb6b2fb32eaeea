"""The operations that a block may run, one file for each: names, layers, costs, keys, drawing."""
