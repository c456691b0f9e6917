"""How the values at a cut become bytes: a registry of encodings by the name that `split.json` gives them."""

from __future__ import annotations

from optc.runtime.split.codec.registry import Codec, CodecFault, Place, encoding, encodings, open_codec

__all__ = ["Codec", "CodecFault", "Place", "encoding", "encodings", "open_codec"]
