"""Several methods on one's own data, compared fairly; imports experiments, report and retrieval."""
