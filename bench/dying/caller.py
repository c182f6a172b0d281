"""A runtime that has one thing done and waits for the answer: `caller.py SOCKET`, killed by whoever started it."""

import json
import sys

from moorage import Client


def main() -> None:
    """Connect, say so, take a line with method and parameters, ask, say that it is answered."""
    with Client(sys.argv[1], pauses=()) as client:
        client.hello()
        print("ready", flush=True)
        method, params = json.loads(sys.stdin.readline())
        getattr(client, method)(**params)
        print("done", flush=True)


if __name__ == "__main__":
    main()
