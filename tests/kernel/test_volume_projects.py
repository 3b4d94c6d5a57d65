"""Sizes of volumes, held by project quotas of ext4; the kernel of the virtual machine has them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.test_volume_quotas import holds

EXT4 = 'mkfs.ext4 -qF -O quota,project -E quotatype=prjquota "$1.image" && mkdir "$1" && mount -o loop,prjquota "$1.image" "$1"'


@pytest.mark.v2  # not of cgroups, but of the kernel there
def test_ext4_holds_volumes_to_their_size(root: Path) -> None:
    holds(root, EXT4, "overlay")
