"""The flow of every script, from its arguments to a described model; imports analysis and clustering."""
