"""A simple index on this machine: nginx in front of a folder of wheels."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

__all__ = ["free_port", "index_of", "serve_pages", "write_pages"]

CONFIG = """
{user} daemon off; worker_processes 1; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {root}/access.log; client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root}; uwsgi_temp_path {root};
  scgi_temp_path {root}; sendfile on; keepalive_requests 100000; {more}
  server {{
    listen 127.0.0.1:{port};
    location /simple/ {{ root {root}; types {{ }} default_type application/vnd.pypi.simple.v1+json; try_files $uri/index.json $uri.json =404; }}
    location /html/ {{ root {root}; default_type text/html; try_files $uri/index.html =404; }}
    location /files/ {{ alias {files}/; }}
  }}
}}
"""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_pages(root: Path, wheels: Sequence[Path], files: str = "/files/") -> None:
    """The pages of an index, as JSON below ``simple`` and as HTML below ``html``."""
    projects: dict[str, list[Path]] = {}
    for wheel in wheels:
        projects.setdefault(canonicalize_name(wheel.name.split("-")[0]), []).append(wheel)
    meta = {"api-version": "1.1"}
    for kind in ("simple", "html"):
        (root / kind).mkdir(parents=True)
    (root / "simple" / "index.json").write_text(json.dumps({"meta": meta, "projects": [{"name": name} for name in projects]}))
    (root / "html" / "index.html").write_text("".join(f'<a href="{name}/">{name}</a>\n' for name in projects))
    for name, found in projects.items():
        rows = [
            {
                "filename": w.name,
                "url": files + w.name,
                "size": w.stat().st_size,
                "hashes": {"sha256": hashlib.sha256(w.read_bytes()).hexdigest()},
            }
            for w in found
        ]
        (root / "simple" / name).mkdir()
        (root / "simple" / name / "index.json").write_text(json.dumps({"meta": meta, "name": name, "files": rows}))
        (root / "html" / name).mkdir()
        links = (f'<a href="{row["url"]}#sha256={row["hashes"]["sha256"]}">{row["filename"]}</a><br>' for row in rows)  # type: ignore[index]
        (root / "html" / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>")


@contextlib.contextmanager
def index_of(root: Path, wheels: Sequence[Path], more: str = "") -> Iterator[str]:
    """The address of an index of wheels that lie in one folder, served until the end. ``more``: settings of nginx."""
    write_pages(root, wheels)
    with serve_pages(root, wheels[0].parent, more) as url:
        yield url


@contextlib.contextmanager
def serve_pages(root: Path, files: Path | None = None, more: str = "") -> Iterator[str]:
    """The address of the pages below a folder, served until the end. ``files``: the folder of the wheels."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    user = "user root;" if os.getuid() == 0 else ""
    (root / "nginx.conf").write_text(CONFIG.format(user=user, root=root, port=port, files=files or root, more=more))
    with subprocess.Popen([nginx, "-c", str(root / "nginx.conf"), "-p", str(root)], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with contextlib.suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/simple/", timeout=1).close()
                    break
                time.sleep(0.05)
            yield f"http://127.0.0.1:{port}/simple/"
        finally:
            server.terminate()
