"""The model hub: asked only where it can be reached."""

import socket
import urllib.parse
import urllib.request


def prefer_cache() -> None:
    """Leave only the local cache to look in where the model hub cannot be reached: its client would retry for a minute."""
    from huggingface_hub import constants

    if urllib.request.getproxies():
        return
    host = urllib.parse.urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((host.hostname or "", host.port or 443), timeout=5).close()
    except OSError:
        constants.HF_HUB_OFFLINE = True
