"""A folder and S3 behind one contract, chosen by a URL."""
