"""The paper's experiment with a model of two numbers (section 4.1); imports console."""
