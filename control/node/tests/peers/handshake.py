"""A gateway's handshake on grpcio, which shares no code with the node: C's HTTP/2 and TLS, stubs by protoc.

    handshake.py PROTO_DIR TARGET [--root CERT] [--address HEX] [--sig HEX] --model ID

TARGET is HOST:PORT. With --root it is spoken to over TLS, its certificate checked against that file and its name against HOST, and HTTP/2
has to be chosen by ALPN; without, it is HTTP/2 in the clear. The address and its signature are those of the gateway.

Prints one JSON object, what came of each call by its name: {"answer": …} with the message in protobuf's JSON form, bytes in base64; or
{"code": "UNKNOWN", "text": "…"}. Judges nothing. Ends with 0 when every call got an answer of either kind.
"""

import argparse
import importlib
import json
import sys
import tempfile

import grpc
from google.protobuf.json_format import MessageToDict
from grpc_tools import protoc

CALL_SECONDS = 10
LIVE_VIDEO_TO_VIDEO = 35
# What go-livepeer's gateways ask for, whatever the job.
USUAL = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 26]


def main():
    args = arguments()
    with tempfile.TemporaryDirectory() as folder:
        messages, services = stubs(args.proto_dir, folder)
        with channel(args) as connection:
            calls = Calls(connection, messages, services)
            json.dump(talk(calls, args), sys.stdout)


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("proto_dir")
    parser.add_argument("target")
    parser.add_argument("--root")
    parser.add_argument("--address", type=bytes.fromhex, default=b"")
    parser.add_argument("--sig", type=bytes.fromhex, default=b"")
    parser.add_argument("--model", required=True)
    return parser.parse_args()


def stubs(proto_dir, folder):
    """Generates and imports them."""
    status = protoc.main(
        ["protoc", f"-I{proto_dir}", f"--python_out={folder}", f"--grpc_python_out={folder}"]
        + ["net/lp_rpc.proto", "net/redeemer.proto"]
    )
    if status != 0:
        sys.exit(f"protoc ended with {status}")
    sys.path.insert(0, folder)
    for name in ["lp_rpc", "redeemer"]:
        importlib.import_module(f"net.{name}_pb2_grpc")
    return (importlib.import_module("net.lp_rpc_pb2"), importlib.import_module("net.lp_rpc_pb2_grpc"))


def channel(args):
    options = [("grpc.enable_http_proxy", 0), ("grpc.enable_retries", 0)]
    if args.root is None:
        return grpc.insecure_channel(args.target, options)
    with open(args.root, "rb") as file:
        credentials = grpc.ssl_channel_credentials(root_certificates=file.read())
    return grpc.secure_channel(args.target, credentials, options)


class Calls:
    def __init__(self, connection, messages, services):
        self.connection, self.messages = connection, messages
        self.orchestrator = services.OrchestratorStub(connection)
        self.transcoder = services.TranscoderStub(connection)
        self.worker = services.AIWorkerStub(connection)

    def greet(self, address, sig, job=None):
        request = self.messages.OrchestratorRequest(address=address, sig=sig, capabilities=job)
        return outcome(lambda: self.orchestrator.GetOrchestrator(request, timeout=CALL_SECONDS))

    def ping(self, value):
        request = self.messages.PingPong(value=value)
        return outcome(lambda: self.orchestrator.Ping(request, timeout=CALL_SECONDS))

    def end(self, token):
        request = self.messages.EndTranscodingSessionRequest(auth_token=token)
        return outcome(lambda: self.orchestrator.EndTranscodingSession(request, timeout=CALL_SECONDS))

    def job(self, model):
        """Live video through a model."""
        wanted = self.messages.Capabilities(version="0.9.1")
        all_of_them = USUAL + [LIVE_VIDEO_TO_VIDEO]
        wanted.bitstring.append(sum(1 << capability for capability in all_of_them))
        for capability in all_of_them:
            wanted.capacities[capability] = 1
        wanted.constraints.PerCapability[LIVE_VIDEO_TO_VIDEO].models[model].warm = False
        return wanted

    def raw(self, path):
        """A call of which no stub knows."""
        as_it_is = self.connection.unary_unary(path, lambda it: it, lambda it: it)
        return outcome(lambda: as_it_is(b"", timeout=CALL_SECONDS))

    def stream(self, method, request):
        return outcome(lambda: next(method(request, timeout=CALL_SECONDS)))


def outcome(call):
    try:
        answer = call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "text": error.details()}
    return {"answer": MessageToDict(answer, preserving_proto_field_name=True)}


def talk(calls, args):
    messages = calls.messages
    job = calls.job(args.model)
    said = {
        "look": calls.greet(args.address, args.sig),
        "job": calls.greet(args.address, args.sig, job),
        "nobody": calls.greet(bytes(20), b"", job),
        "other_model": calls.greet(args.address, args.sig, calls.job("nobody/has-it")),
        "ping": calls.ping(bytes(range(32))),
        "ping_64": calls.ping(bytes(64)),
        "ping_65": calls.ping(bytes(65)),
    }
    request = messages.OrchestratorRequest(address=args.address, sig=args.sig, capabilities=job)
    token = calls.orchestrator.GetOrchestrator(request, timeout=CALL_SECONDS).auth_token
    ends = {
        "good": token,
        "again": token,
        "none": None,
        "empty": messages.AuthToken(),
        "bit": changed(messages, token, token=bytes([token.token[0] ^ 1]) + token.token[1:]),
        "short": changed(messages, token, token=token.token[:31]),
        "other_session": changed(messages, token, session_id="0" * 32),
        "later": changed(messages, token, expiration=token.expiration + 1),
    }
    said["end"] = {name: calls.end(token) for name, token in ends.items()}
    said["unknown"] = {
        "service": calls.raw("/net.Nobody/Ping"),
        "method": calls.raw("/net.Orchestrator/Sing"),
        "transcoder": calls.stream(calls.transcoder.RegisterTranscoder, messages.RegisterRequest(secret="x")),
        "worker": calls.stream(calls.worker.RegisterAIWorker, messages.RegisterAIWorkerRequest(secret="x")),
    }
    said["still_there"] = calls.greet(args.address, args.sig, job)
    return said


def changed(messages, token, /, **fields):
    other = messages.AuthToken()
    other.CopyFrom(token)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


main()
