"""`RemoteMonitor`: sends the logs of each epoch to a web server."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
import warnings
from typing import Any

from kcompile.files.atomic import writes
from kcompile.keras.callbacks.base import Callback


class RemoteMonitor(Callback):
    """Posts ``{"epoch": ..., "loss": ...}`` to ``root + path`` after each epoch.

    As the field ``field`` of a form, or as JSON where ``send_as_json``. A server that does not answer is a
    warning: training goes on.
    """

    def __init__(
        self,
        root: str = "http://localhost:9000",
        path: str = "/publish/epoch/end/",
        field: str = "data",
        headers: dict[str, str] | None = None,
        send_as_json: bool = False,
    ):
        super().__init__()
        if not root.startswith(("http://", "https://")):
            raise ValueError(f"RemoteMonitor: `root` must start with http:// or https://, got {root!r}")
        self.root, self.path, self.field, self.send_as_json = root, path, field, send_as_json
        self.headers = dict(headers or {})

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not writes():
            return
        values = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in (logs or {}).items()}
        text = json.dumps({"epoch": epoch, **values})
        body = text if self.send_as_json else urllib.parse.urlencode({self.field: text})
        kind = "application/json" if self.send_as_json else "application/x-www-form-urlencoded"
        headers = {"Content-Type": kind, **self.headers}
        request = urllib.request.Request(self.root + self.path, body.encode(), headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10):
                pass
        except (urllib.error.URLError, OSError) as error:
            warnings.warn(f"Could not reach RemoteMonitor root server at {self.root}: {error}", stacklevel=2)
