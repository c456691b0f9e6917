"""Models that keep their answers when bits flip."""
