"""Measurements of optc and its peers, run as scripts from a checkout."""
