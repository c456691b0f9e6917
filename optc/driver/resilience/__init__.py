"""What flipped bits do to a model's answers, and what can be done about it."""
