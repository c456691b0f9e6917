"""Smaller layers: channels taken out, and matrices as products of thinner ones."""
