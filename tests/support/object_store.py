"""An S3 of this machine: moto's server in a process of its own."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import boto3

KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Its endpoint."""
    command = [sys.executable, "-c", "import sys; from moto.server import main; main(['-p', '0'])"]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    try:
        port = next(line.split(":")[-1].split()[0] for line in server.stderr if "Running on http" in line)
        threading.Thread(target=server.stderr.read, daemon=True).start()  # its log must not fill the pipe
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def s3_client(endpoint: str):
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **KEYS)
