"""What finished runs say: read back, analysed as in the paper, drawn; imports console, problems and retrieval."""
