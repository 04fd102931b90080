"""Intermediate tasks, alone, jointly and in orders, and what targets gain by them; imports experiments and report."""
