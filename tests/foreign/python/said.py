"""What a program tells the test that runs it: one JSON object a line."""

import json, sys, threading

_turn = threading.Lock()


def say(event, **fields):
    with _turn:
        print(json.dumps({"event": event, **fields}), flush=True)
