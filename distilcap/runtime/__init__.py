"""A bundle at work: manifest, pixels, search. No module here imports PyTorch."""
