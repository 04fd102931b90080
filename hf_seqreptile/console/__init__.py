"""What every command shares: its arguments, and how it ends on bad input; imports data and methods."""
