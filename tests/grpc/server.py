"""A gRPC server of Google's own implementation, without messages of a schema: requests and answers are bytes.

server.py PORT binds on MELTEMI_BIND_ADDRESS.
"""

import json
import os
import sys
import threading
import time
from concurrent import futures

import grpc

begun = 0
cancelled = 0
lock = threading.Lock()


def unary(request, context):
    """Gives the request back, with the caller's own metadata in front and behind."""
    sent = [(key, value) for key, value in context.invocation_metadata() if key.startswith("x-")]
    context.send_initial_metadata([(key, value) for key, value in sent if key.startswith("x-initial")])
    context.set_trailing_metadata([(key, value) for key, value in sent if key.startswith("x-trailing")])
    return request


def compressed(request, context):
    context.set_compression(grpc.Compression.Gzip)
    return request


def collect(requests, context):
    count, size = 0, 0
    for request in requests:
        count, size = count + 1, size + len(request)
    return f"{count} {size}".encode()


def produce(request, context):
    """`COUNT SIZE`: so many messages of this size; without end if COUNT is negative."""
    count, size = map(int, request.split())
    watch(context)
    sent = 0
    while sent != count and context.is_active():
        yield bytes([sent % 251]) * size
        sent += 1


def converse(requests, context):
    for request in requests:
        yield request


def fail(request, context):
    """`CODE MESSAGE`: fails with it before anything is answered."""
    code, message = request.decode().split(" ", 1)
    context.set_trailing_metadata([("grpc-status-details-bin", bytes(range(256)))])
    context.abort(by_number(int(code)), message)


def fail_late(request, context):
    """As fail, after two messages."""
    yield b"one"
    yield b"two"
    code, message = request.decode().split(" ", 1)
    context.abort(by_number(int(code)), message)


def by_number(number):
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def slow(request, context):
    """Answers after so many seconds, unless the caller has gone."""
    gone = watch(context)
    gone.wait(float(request))
    return b"late"


def watch(context):
    """Counts the call, and again if it ends before its answer does."""
    global begun
    gone = threading.Event()
    with lock:
        begun += 1

    def ended():
        global cancelled
        gone.set()
        if not context.code():
            with lock:
                cancelled += 1

    context.add_callback(ended)
    return gone


def told(request, context):
    """What has arrived with the call, and how much time it says is left."""
    metadata = {key: value for key, value in context.invocation_metadata() if not key.endswith("-bin")}
    counts = {"begun": begun, "cancelled": cancelled}
    return json.dumps({"metadata": metadata, "left": context.time_remaining(), **counts}).encode()


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Compressed": grpc.unary_unary_rpc_method_handler(compressed),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Produce": grpc.unary_stream_rpc_method_handler(produce),
    "Converse": grpc.stream_stream_rpc_method_handler(converse),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "FailLate": grpc.unary_stream_rpc_method_handler(fail_late),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Told": grpc.unary_unary_rpc_method_handler(told),
}

server = grpc.server(
    futures.ThreadPoolExecutor(64),
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("interop.Peer", METHODS)])
address = os.environ.get("MELTEMI_BIND_ADDRESS", "127.0.0.1")
assert server.add_insecure_port(f"{address}:{sys.argv[1]}"), "the port is taken"
server.start()
server.wait_for_termination()
