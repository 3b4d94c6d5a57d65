"""json, signal and socket for the start path: the same names, without the enums and regular expressions of the originals.

Those three load 25 modules between them, and cost a launcher or a command of `tuicon-oci` as much as all of ours.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import json
    import signal
    import socket
else:
    import _signal as signal

    from engine.linux import jsontext as json
    from engine.linux import sockets as socket

__all__ = ["json", "signal", "socket"]
