"""What goes into the files of containers and what comes out of them: copy, diff, export, commit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from engine.model.change import Change, Copied

if TYPE_CHECKING:
    from engine.containers.containers import Rooms
    from engine.containers.records import Registry
    from engine.containers.views import Views
    from engine.model.image import Image
    from engine.store.journal import Journal


class Exchange:
    """The half of `Containers` that works on files.

    A container need not run; while its files are copied, nobody can start, pause or remove it.
    """

    _journal: Journal
    _registry: Registry
    _rooms: Rooms
    _views: Views

    def copy_in(self, ref: str, source: Path | str | BinaryIO, path: str, *, follow_link: bool = False) -> Copied:
        """Copy into a container by docker's rules; owners, modes and times are kept.

        Args:
            ref: The container.
            source: A path on the host, or a tar stream to put into a directory. "/." at the end of a path means the
                directory's content; pass text, for a Path loses it.
            path: The path in the container; a relative one begins at its root.
            follow_link: Whether a source that is a link stands for what it leads to.

        Raises:
            CopyFailed: The paths do not fit each other, or something cannot be read or written.
            ImageError: The stream is damaged.
        """
        from engine.containers import copy

        container_id, name = self._named(ref)
        with self._views.root(container_id) as view:
            if isinstance(source, Path | str):
                copied = copy.copy_in(view, str(source), path, follow_link=follow_link)
            else:
                copied = copy.copy_in_archive(view, source, path)
        self._journal.append("container", "extract-to-dir", container_id, name, path=_shown(path))
        return copied

    def copy_out(
        self, ref: str, path: str, target: Path | str | BinaryIO, *, keeps_owners: bool = False,
        follow_link: bool = False,
    ) -> Copied:  # fmt: skip
        """Copy out of a container by docker's rules.

        Args:
            ref: The container.
            path: The path in the container; "/." at its end means the directory's content.
            target: A path on the host, or a stream that gets a tar archive.
            keeps_owners: Whether files on the host keep their owners, set-id bits and capabilities, and devices come
                along; else they become ours. An archive has it all.
            follow_link: Whether a path that is a link stands for what it leads to.

        Raises:
            CopyFailed: The paths do not fit each other, or something cannot be read or written.
        """
        from engine.containers import copy

        container_id, name = self._named(ref)
        with self._views.root(container_id) as view:
            if isinstance(target, Path | str):
                copied = copy.copy_out(view, path, str(target), keeps_owners=keeps_owners, follow_link=follow_link)
            else:
                copied = copy.copy_out_archive(view, path, target.write, follow_link=follow_link)
        self._journal.append("container", "archive-path", container_id, name, path=_shown(path))
        return copied

    def diff(self, ref: str) -> tuple[Change, ...]:
        """Return what a container changed in its root file system, volumes left out; sorted by path."""
        from engine.containers import diff

        record = self._registry.record(self._registry.resolve(ref))
        with self._views.image(record) as image_fd, self._views.upper(record) as upper_fd:
            return tuple(found.change for found in diff.changes(upper_fd, image_fd))

    def export(self, ref: str, target: Path | BinaryIO) -> Copied:
        """Write a container's root file system as a tar archive; what is mounted on it, volumes too, is left out.

        Args:
            ref: The container.
            target: A file, which is written whole or not at all, or a stream.

        Raises:
            CopyFailed: The file cannot be written, or a file of the container cannot be read.
        """
        from engine.containers import copy

        container_id, name = self._named(ref)
        with self._views.root(container_id, alone=True) as view:
            copied = copy.export_to_file(view, target) if isinstance(target, Path) else copy.export(view, target.write)
        self._journal.append("container", "export", container_id, name)
        return copied

    def commit(
        self, ref: str, reference: str = "", *, author: str = "", message: str = "", changes: tuple[str, ...] = (),
        pause: bool = True,
    ) -> Image:  # fmt: skip
        """Make an image out of a container's image and what the container changed, volumes left out.

        Args:
            ref: The container.
            reference: A name for the image.
            author: Who made it.
            message: What its history says.
            changes: Dockerfile instructions for its config, such as "CMD sleep 10".
            pause: Whether the processes of a running container stand still meanwhile.

        Raises:
            InvalidArgument: The reference or a change is malformed.
            Conflict: A file's name cannot be in a layer.
            CopyFailed: A file cannot be read.
        """
        from engine.containers import commit, diff
        from engine.images.derive import Step
        from engine.images.tree import Tree
        from engine.oci import instructions

        container_id = self._registry.resolve(ref)
        with self._views.changed(container_id, is_held=pause) as (record, upper_fd, image_fd):
            items = commit.layer(diff.changes(upper_fd, image_fd), Tree(finds_holes=False))
            image = self._rooms.images.derive(
                self._rooms.images.get(record.image_id), items,
                lambda config: instructions.apply(commit.settings_of(config, record.spec), changes),
                Step(" ".join(record.command), message, author), reference,
            )  # fmt: skip
        self._journal.append("container", "commit", container_id, record.name, comment=message, imageID=image.id)
        return image

    def _named(self, ref: str) -> tuple[str, str]:
        """Return the id and the name of a container, which may be gone when its files are copied."""
        container_id = self._registry.resolve(ref)
        return container_id, self._registry.record(container_id).name


def _shown(path: str) -> str:
    """Return a path as text that any reader of events takes."""
    return os.fsencode(path).decode(errors="replace")
