"""What an artifact states of its compile, as plain data."""
