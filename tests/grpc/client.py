"""Calls of every kind, with Google's own implementation of gRPC, to what `server.py` serves.

client.py ADDRESS:PORT IDENTITY prints a line for each case, `ok NAME` or `FAILED NAME: why`. IDENTITY is the one that the server must hear of.
"""

import concurrent.futures
import json
import os
import sys
import threading
import time

import grpc

LIMIT = 10
channel = grpc.insecure_channel(
    sys.argv[1],
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)


def path(name):
    return f"/interop.Peer/{name}"


def unary(name):
    return channel.unary_unary(path(name))


def expect(found, wanted):
    assert found == wanted, f"{str(found)[:200]!r} instead of {str(wanted)[:200]!r}"


def failure(call):
    """What a call fails with."""
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("it did not fail")


def told(**more):
    return json.loads(unary("Told")(b"", timeout=LIMIT, **more))


def unary_call():
    expect(unary("Unary")(b"hello", timeout=LIMIT), b"hello")


def empty_message():
    expect(unary("Unary")(b"", timeout=LIMIT), b"")


def mutual_tls():
    metadata = told()["metadata"]
    assert sys.argv[2] in metadata.get("x-forwarded-client-cert", ""), metadata


def client_stream():
    messages = [bytes(n) for n in range(100)]
    found = channel.stream_unary(path("Collect"))(iter(messages), timeout=LIMIT)
    expect(found, f"100 {sum(map(len, messages))}".encode())


def server_stream():
    found = list(channel.unary_stream(path("Produce"))(b"200 1000", timeout=LIMIT))
    expect(found, [bytes([n]) * 1000 for n in range(200)])


def both_streams():
    """Each message waits for the answer to the one before."""
    answered = threading.Semaphore(1)

    def messages():
        for n in range(50):
            assert answered.acquire(timeout=LIMIT), "no answer"
            yield str(n).encode()

    found = []
    for answer in channel.stream_stream(path("Converse"))(messages(), timeout=LIMIT):
        found.append(int(answer))
        answered.release()
    expect(found, list(range(50)))


def both_streams_at_once():
    messages = [os.urandom(10_000) for _ in range(300)]
    expect(list(channel.stream_stream(path("Converse"))(iter(messages), timeout=LIMIT)), messages)


def empty_streams():
    expect(channel.stream_unary(path("Collect"))(iter(()), timeout=LIMIT), b"0 0")
    expect(list(channel.stream_stream(path("Converse"))(iter(()), timeout=LIMIT)), [])
    expect(list(channel.unary_stream(path("Produce"))(b"0 0", timeout=LIMIT)), [])


def large_message():
    message = os.urandom(6 << 20)
    expect(unary("Unary")(message, timeout=LIMIT), message)


def large_stream_up():
    found = channel.stream_unary(path("Collect"))(iter([bytes(1 << 20)] * 16), timeout=LIMIT)
    expect(found, f"16 {16 << 20}".encode())


def large_stream_down():
    found = list(channel.unary_stream(path("Produce"))(f"16 {1 << 20}".encode(), timeout=LIMIT))
    expect([len(message) for message in found], [1 << 20] * 16)


def compressed_both_ways():
    message = b"again and again " * 10_000
    found = unary("Compressed")(message, timeout=LIMIT, compression=grpc.Compression.Gzip)
    expect(found, message)


def deadline_is_told():
    left = told()["left"]
    assert LIMIT - 3 < left < LIMIT + 1, left


def deadline_ends_a_call():
    begun = time.monotonic()
    error = failure(lambda: unary("Slow")(b"8", timeout=0.5))
    # The server has the same deadline: where its clock ends the call first, the proxies tell of a stream that was reset.
    codes = (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert error.code() in codes, error.code()
    took = time.monotonic() - begun
    assert 0.4 < took < 3, took


def within_the_deadline():
    expect(unary("Slow")(b"0.3", timeout=LIMIT), b"late")


def every_status():
    for code in grpc.StatusCode:
        number = code.value[0]
        if number == 0:
            continue
        error = failure(lambda: unary("Fail")(f"{number} why {number}".encode(), timeout=LIMIT))
        expect((error.code(), error.details()), (code, f"why {number}"))


def details():
    text = "päth 100% of\ta \u65e5\u672c"
    error = failure(lambda: unary("Fail")(f"9 {text}".encode(), timeout=LIMIT))
    expect((error.code(), error.details()), (grpc.StatusCode.FAILED_PRECONDITION, text))
    expect(dict(error.trailing_metadata())["grpc-status-details-bin"], bytes(range(256)))


def failure_after_messages():
    found = []

    def take():
        for message in channel.unary_stream(path("FailLate"))(b"10 enough", timeout=LIMIT):
            found.append(message)

    error = failure(take)
    expect((found, error.code(), error.details()), ([b"one", b"two"], grpc.StatusCode.ABORTED, "enough"))


def unknown_method():
    expect(failure(lambda: unary("Nothing")(b"", timeout=LIMIT)).code(), grpc.StatusCode.UNIMPLEMENTED)


def metadata():
    sent = [
        ("x-initial", "one"),
        ("x-initial", "two, three"),
        ("x-initial-bin", bytes(range(256))),
        ("x-trailing", "a b  c"),
        ("x-trailing-bin", b"\0\1\2"),
        ("x-trailing-long", "y" * 4000),
    ]
    answer, call = unary("Unary").with_call(b"m", timeout=LIMIT, metadata=sent)
    expect(answer, b"m")

    def joined(received):
        found = {}
        for key, value in received:
            if key.startswith("x-") and not key.startswith("x-envoy"):
                found.setdefault(key, []).append(value)
        return {key: value if isinstance(value[0], bytes) else ",".join(value) for key, value in found.items()}

    expect(joined(call.initial_metadata()), {"x-initial": "one,two, three", "x-initial-bin": [bytes(range(256))]})
    expect(joined(call.trailing_metadata()), joined(sent[3:]))


def until_told(what, count):
    end = time.monotonic() + 5
    while told()[what] < count:
        assert time.monotonic() < end, f"the server does not hear of it: {what}"
        time.sleep(0.02)


def cancellation():
    before = told()
    call = unary("Slow").future(b"8", timeout=LIMIT)
    until_told("begun", before["begun"] + 1)
    call.cancel()
    stream = channel.unary_stream(path("Produce"))(b"-1 1000", timeout=LIMIT)
    for _ in range(3):
        next(stream)
    stream.cancel()
    expect(failure(lambda: list(stream)).code(), grpc.StatusCode.CANCELLED)
    until_told("cancelled", before["cancelled"] + 2)


def side_by_side():
    """One connection, more streams than any has room for at once."""

    def one(n):
        message = os.urandom(n * 37 % 20_000)
        expect(unary("Unary")(message, timeout=LIMIT), message)

    with concurrent.futures.ThreadPoolExecutor(48) as pool:
        list(pool.map(one, range(400)))


def streams_side_by_side():
    def one(n):
        messages = [bytes([n, k]) * 500 for k in range(40)]
        expect(list(channel.stream_stream(path("Converse"))(iter(messages), timeout=LIMIT)), messages)

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        list(pool.map(one, range(24)))


CASES = [
    mutual_tls,
    unary_call,
    empty_message,
    client_stream,
    server_stream,
    both_streams,
    both_streams_at_once,
    empty_streams,
    large_message,
    large_stream_up,
    large_stream_down,
    compressed_both_ways,
    deadline_is_told,
    deadline_ends_a_call,
    within_the_deadline,
    every_status,
    details,
    failure_after_messages,
    unknown_method,
    metadata,
    cancellation,
    side_by_side,
    streams_side_by_side,
]

grpc.channel_ready_future(channel).result(timeout=LIMIT)
for case in CASES:
    try:
        case()
        print(f"ok {case.__name__}", flush=True)
    except Exception as error:
        print(f"FAILED {case.__name__}: {type(error).__name__}: {str(error)[:600]}", flush=True)
