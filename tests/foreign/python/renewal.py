"""Renews a service's certificate: a new key, and what certifies it, in a folder of their own."""

import shutil, subprocess
from reeve.v1.access_pb2 import RenewCertificateRequest
from reeve.v1.access_pb2_grpc import AccessServiceStub

# Whatever the request calls itself: whoever asks gets its own name again.
REQUEST = "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=service".split()


def renew(channel, identity, successor):
    successor.mkdir(mode=0o700)
    key, request = successor / "client.key", successor / "client.csr"
    subprocess.run([*REQUEST, "-keyout", key, "-out", request], check=True, capture_output=True)
    asked = RenewCertificateRequest(csr_pem=request.read_text())
    answer = AccessServiceStub(channel).RenewCertificate(asked)
    (successor / "client.crt").write_text(answer.certificate_chain_pem)
    shutil.copy(identity / "root.crt", successor)
