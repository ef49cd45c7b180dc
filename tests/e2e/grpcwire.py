"""gRPC for tests: a server that does what its method's name says, and channels to it. Messages are bytes."""
import os
import threading
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")  # programs are started while it runs
import grpc  # noqa: E402  (its environment comes first)

SERVICE = "/t.Test/"
OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
           ("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
TIMEOUT = 20.0


class GrpcOrigin:
    """A gRPC server on loopback. `calls`: (method, metadata, seconds left) of each; `cancelled`: one of Hang was."""

    def __init__(self, key=None, certificate=None, port=0, threads=16):
        self.calls, self.cancelled, self.all = [], threading.Event(), threading.Event()
        self.lock, self.running, self.most = threading.Lock(), 0, 0
        self.server = grpc.server(ThreadPoolExecutor(threads), options=[*OPTIONS, ("grpc.so_reuseport", 0)])
        self.server.add_generic_rpc_handlers((Handlers(self),))
        if key:
            credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
            self.port = self.server.add_secure_port(f"127.0.0.1:{port}", credentials)
        else:
            self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()
        self.address = f"{'h2' if key else 'h2c'}://127.0.0.1:{self.port}"

    def stop(self, grace=None):
        """Ends it: with `grace` seconds for what runs, as a server that is replaced does (GOAWAY)."""
        self.server.stop(grace).wait(TIMEOUT)
        self.all.set()


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, origin):
        self.origin = origin

    def service(self, details):
        name = details.method.removeprefix(SERVICE)
        make = {"Unary": grpc.unary_unary_rpc_method_handler, "Fail": grpc.unary_unary_rpc_method_handler,
                "Wait": grpc.unary_unary_rpc_method_handler, "Hang": grpc.unary_stream_rpc_method_handler,
                "Count": grpc.unary_stream_rpc_method_handler, "Sum": grpc.stream_unary_rpc_method_handler,
                "Echo": grpc.stream_stream_rpc_method_handler}.get(name)
        return make(getattr(self, name.lower())) if make else None

    def note(self, name, context):
        self.origin.calls.append((name, dict(context.invocation_metadata()), context.time_remaining()))

    def unary(self, request, context):
        self.note("Unary", context)
        return request[::-1]

    def fail(self, request, context):
        """A status with a message and metadata, and nothing else."""
        self.note("Fail", context)
        context.set_trailing_metadata((("x-why", "because"), ("x-why-bin", b"\x00\xff")))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: 100 % ü")

    def wait(self, request, context):
        """Answers when all may."""
        with self.origin.lock:
            self.origin.running += 1
            self.origin.most = max(self.origin.most, self.origin.running)
        self.origin.all.wait(60)
        with self.origin.lock:
            self.origin.running -= 1
        return request

    def hang(self, request, context):
        """One message, and then nothing, until it is cancelled."""
        self.note("Hang", context)
        over = threading.Event()

        def ended():  # it may come before this goes on behind its message, and then it never does
            self.origin.cancelled.set()
            over.set()
        context.add_callback(ended)
        yield b"begun"
        over.wait(30)

    def count(self, request, context):
        for i in range(int(request)):
            yield str(i).encode()
        context.set_trailing_metadata((("x-count", request.decode()),))

    def sum(self, requests, context):
        return str(sum(len(r) for r in requests)).encode()

    def echo(self, requests, context):
        for request in requests:
            yield request
        context.set_trailing_metadata((("x-end", "echo"),))


class Calls:
    """A channel to aditd, or to what stands before it. `ca`: over TLS, else plain."""

    def __init__(self, port, authority, ca=None):
        options = [*OPTIONS, ("grpc.default_authority", authority)]
        if ca:
            credentials = grpc.ssl_channel_credentials(ca.read_bytes())
            options.append(("grpc.ssl_target_name_override", authority))
            self.channel = grpc.secure_channel(f"127.0.0.1:{port}", credentials, options)
        else:
            self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        c = self.channel
        self.unary, self.fail, self.wait = (c.unary_unary(SERVICE + n) for n in ("Unary", "Fail", "Wait"))
        self.count, self.hang = c.unary_stream(SERVICE + "Count"), c.unary_stream(SERVICE + "Hang")
        self.sum, self.echo = c.stream_unary(SERVICE + "Sum"), c.stream_stream(SERVICE + "Echo")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()
