"""What each kind of problem needs around the trainer: preprocessing, post-processing and its metric."""
