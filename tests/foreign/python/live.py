"""A service at work: resolves without end, watches, and changes its connection when its tenant's credential changes.

live.py NODES IDENTITY SERVICE_CONFIG DOMAIN: says what it sees, and leaves when its input ends.
"""

import pathlib, queue, sys, threading, time, uuid
import grpc
import errors, fleet, renewal, watch
from reeve.v1 import common_pb2, resolver_pb2 as wire
from said import say

WORKERS = 4
ANSWERS_PER_LINE = 50
PAUSE_S = 0.005

nodes, identity, service_config, domain = sys.argv[1].split(","), *map(pathlib.Path, sys.argv[2:4]), sys.argv[4]
resolver = fleet.resolver(nodes, identity, service_config)
instance = f"python-{uuid.uuid4().hex}"
leaving = threading.Event()
# Resolutions of our tenant that name another credential; None when the input has ended.
news = queue.Queue()


def resolve_on(level):
    """Every answer counts, and so does every call that fails."""
    request = wire.ResolveRequest(claim=common_pb2.Claim(kind=common_pb2.Claim.KIND_DOMAIN, key=domain))
    if level == "linearizable":
        request.read.linearizable.SetInParent()
    answered_by = []
    while not leaving.is_set():
        try:
            answered_by.append(resolver.Resolve(request).freshness.node_id)
        except grpc.RpcError as error:
            say("failed", level=level, code=error.code().name, reason=errors.reason(error), told=error.details())
        if len(answered_by) == ANSWERS_PER_LINE:
            say("resolved", level=level, nodes=sorted(set(answered_by)))
            answered_by.clear()
        time.sleep(PAUSE_S)


def watch_for(tenant_id, version):
    def hear(kind, event):
        nonlocal version
        match kind:
            case "opened":
                say("watch", kind=kind, revision=event)
            case "broken":
                say("watch", kind=kind, code=event.code().name)
            case "bookmark":
                say("watch", kind=kind, revision=event.freshness.revision, node=event.freshness.node_id)
            case "initial_done" | "delta":
                say("watch", kind=kind, revision=event.revision)
            case "lagged" | "compacted":
                say("watch", kind=kind)
        for tenant in [event] if kind == "initial" else event.changed if kind == "delta" else []:
            if tenant.tenant_id == tenant_id and tenant.credential_version > version:
                version = tenant.credential_version
                news.put(tenant)

    watch.follow(resolver, hear)


def await_end():
    sys.stdin.read()
    news.put(None)


def use(tenant, former):
    """A connection with the credential in force; then nothing earlier is held any more."""
    connection = fleet.connect(resolver, tenant, instance)
    (encrypted, patients) = connection.execute(
        "SELECT ssl, (SELECT count(*) FROM patient) FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ).fetchone()
    if former:
        former.close()
    fleet.acknowledge(resolver, tenant, tenant.credential_version, instance)
    say("connected", role=connection.info.user, version=tenant.credential_version, encrypted=encrypted, patients=patients)
    return connection


tenant = newest = fleet.resolve(resolver, domain)
connection = use(tenant, None)
threading.Thread(target=watch_for, args=(tenant.tenant_id, tenant.credential_version), daemon=True).start()
threading.Thread(target=await_end, daemon=True).start()
workers = [threading.Thread(target=resolve_on, args=(("bounded", "linearizable")[i % 2],)) for i in range(WORKERS)]
for worker in workers:
    worker.start()
while newest := news.get():
    tenant, connection = newest, use(newest, connection)
leaving.set()
for worker in workers:
    worker.join()
connection.execute("SELECT 1")
connection.close()
fleet.acknowledge(resolver, tenant, tenant.credential_version + 1, instance)
successor = identity.with_name(instance)
renewal.renew(fleet.channel(nodes, identity, service_config), identity, successor)
fleet.resolve(fleet.resolver(nodes, successor, service_config), domain)
say("left", identity=successor.name)
