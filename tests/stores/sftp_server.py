"""An SFTP server on this machine that takes one key: ``python -m tests.stores.sftp_server FOLDER PORT PUBLIC_KEY``."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import asyncssh


async def _serve(folder: str, port: str, public_key: str) -> None:
    def in_folder(channel: Any) -> Any:
        return asyncssh.SFTPServer(channel, chroot=folder.encode())

    host_key = asyncssh.generate_private_key("ssh-ed25519")
    await asyncssh.listen(
        "127.0.0.1",
        int(port),
        server_host_keys=[host_key],
        authorized_client_keys=public_key,
        sftp_factory=in_folder,
    )
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
