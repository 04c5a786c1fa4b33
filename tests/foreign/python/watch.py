"""Follows every tenant that the service may see, on any node, from the revision where it stood."""

import random, threading, time
import grpc
from reeve.v1 import resolver_pb2 as wire

SILENCE_MAX_S = 3  # a bookmark comes each second


def follow(resolver, hear, after=0):
    while True:
        hear("opened", after)
        stream = resolver.Watch(wire.WatchRequest(after_revision=after))
        silence = threading.Timer(SILENCE_MAX_S, stream.cancel)
        silence.start()
        try:
            for message in stream:
                silence.cancel()
                kind = message.WhichOneof("event")
                event = getattr(message, kind)
                hear(kind, event)
                match kind:
                    case "initial_done" | "delta":
                        after = event.revision
                    case "bookmark":
                        after = max(after, event.freshness.revision)
                    case "lagged":
                        after = event.resume_after_revision
                    case "compacted":
                        after = 0
                silence = threading.Timer(SILENCE_MAX_S, stream.cancel)
                silence.start()
        except grpc.RpcError as error:
            hear("broken", error)
        silence.cancel()
        time.sleep(random.uniform(0, 1))  # those who were cut off together do not come back together
