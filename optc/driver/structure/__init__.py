"""Smaller layers where they pay: what goes, what it costs, and what takes its place."""
