"""Times of whatever a table's columns describe: operators or models, known by their sizes and settings."""
