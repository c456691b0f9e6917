"""The on-disk cache: a content-checked store of bytes under a kind and a key, shared by all processes of a user."""

from __future__ import annotations

from optc.cache.entries import entries, get, made, put
from optc.cache.folder import cache_folder
from optc.cache.locks import lock, measuring

__all__ = ["cache_folder", "entries", "get", "lock", "made", "measuring", "put"]
