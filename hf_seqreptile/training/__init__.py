"""What every method needs under the stock training loop; imports models and publishing."""
