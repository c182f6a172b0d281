"""Routing rules: read, written, and followed by the answers of published ports and of containers."""
