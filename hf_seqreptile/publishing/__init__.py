"""The model card and the Hub, from facts that they are given; imports models."""
