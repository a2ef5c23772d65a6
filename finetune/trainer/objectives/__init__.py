"""An objective turns a micro-batch into sums: (loss sum, weight, metrics); never means."""
