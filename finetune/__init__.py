"""What is made: catalogue, datasets, jobs, runs, checkpoints and artifacts."""
