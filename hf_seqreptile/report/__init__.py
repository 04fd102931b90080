"""Tables of finished runs as in the paper, and one page that shows them; imports analysis."""
