"""What is known of a compiled model after it ran, as tables, pictures and files for other tools."""
