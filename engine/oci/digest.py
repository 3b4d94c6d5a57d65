"""Digests (image-spec descriptor.md): checked for syntax before they become paths."""

from __future__ import annotations

import re

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Return whether a text is a sha256 digest, the only algorithm the store keeps."""
    return _DIGEST.fullmatch(text) is not None


def hex_of(digest: str) -> str:
    """Return the hex part of a digest.

    Raises:
        ValueError: It is no sha256 digest.
    """
    if not is_digest(digest):
        raise ValueError(f"not a sha256 digest: {digest[:80]}")
    return digest.removeprefix("sha256:")


def of_bytes(data: bytes) -> str:
    """Return the digest of bytes."""
    import hashlib

    return "sha256:" + hashlib.sha256(data).hexdigest()


def chain_ids(diff_ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return the chain_id of each layer, lowest first (image-spec config.md, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(of_bytes(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
