"""A service in Python: a channel over all nodes, a tenant by its domain, a connection to its database."""

import hashlib, ssl, tempfile
import grpc, psycopg
from reeve.v1 import common_pb2, resolver_pb2 as wire
from reeve.v1.resolver_pb2_grpc import ResolverServiceStub


def channel(nodes, identity, service_config):
    root, key, chain = [(identity / name).read_bytes() for name in ("root.crt", "client.key", "client.crt")]
    options = [
        ("grpc.service_config", service_config.read_text()),
        ("grpc.ssl_target_name_override", nodes[0].rsplit(":", 1)[0]),  # a host that every node's certificate names
        # A node may hang without a word. (`grpc.keepalive_timeout_ms` alone does not end its connection.)
        ("grpc.keepalive_time_ms", 2_000), ("grpc.http2.ping_timeout_ms", 2_000),
        ("grpc.max_reconnect_backoff_ms", 5_000),  # one that comes back is used again
    ]
    credentials = grpc.ssl_channel_credentials(root, key, chain)
    return grpc.secure_channel("ipv4:" + ",".join(nodes), credentials, options)


def resolver(nodes, identity, service_config):
    return ResolverServiceStub(channel(nodes, identity, service_config))


def resolve(resolver, domain):
    claim = common_pb2.Claim(kind=common_pb2.Claim.KIND_DOMAIN, key=domain)
    return resolver.Resolve(wire.ResolveRequest(claim=claim)).resolution


def connect(resolver, tenant, instance):
    asked = {"tenant_id": tenant.tenant_id, "version": tenant.credential_version, "instance": instance}
    given = resolver.GetCredential(wire.GetCredentialRequest(**asked))
    if hashlib.sha256(ssl.PEM_cert_to_DER_cert(tenant.server_ca_pem)).digest() != given.server_ca_sha256:
        raise ssl.SSLCertVerificationError("the database servers' CA is not the one named with the credential")
    with tempfile.NamedTemporaryFile("w") as root:
        root.write(tenant.server_ca_pem)
        root.flush()
        return psycopg.connect(
            host=tenant.write.host, port=tenant.write.port, dbname=tenant.database, user=given.role,
            password=given.password, sslmode="verify-full", sslrootcert=root.name, application_name=instance,
        )


def acknowledge(resolver, tenant, version, instance):
    """No earlier version is held any more; one more than the version in force: none at all."""
    said = {"tenant_id": tenant.tenant_id, "version": version, "instance": instance}
    resolver.AcknowledgeCredential(wire.AcknowledgeCredentialRequest(**said))
