"""The artifact folder: written in one step, read with every byte checked."""

from __future__ import annotations

from optc.artifact.host import HostRequirements, requirements_of
from optc.artifact.manifest import FileEntry, Manifest
from optc.artifact.reading import ArtifactFiles, read
from optc.artifact.writing import Contents, Staging, stage, write

__all__ = [
    "ArtifactFiles",
    "Contents",
    "FileEntry",
    "HostRequirements",
    "Manifest",
    "Staging",
    "read",
    "requirements_of",
    "stage",
    "write",
]
