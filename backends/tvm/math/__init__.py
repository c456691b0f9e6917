"""Vectorisable elementary functions as TIR expressions."""
