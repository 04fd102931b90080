"""Several methods on one's own data, compared fairly; imports experiments and report."""
