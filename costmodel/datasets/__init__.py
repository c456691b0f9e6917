"""Importers of public measurements, one file a set; the files themselves stay outside the project (`--data`)."""
