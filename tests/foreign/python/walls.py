"""Tries what must not succeed: its tenant's database under another host, and with another root.

walls.py NODES IDENTITY SERVICE_CONFIG DOMAIN HOST PORT ROOT
"""

import pathlib, sys
import fleet
from reeve.v1.resolver_pb2 import Resolution
from said import say

nodes, identity, service_config, domain = sys.argv[1].split(","), *map(pathlib.Path, sys.argv[2:4]), sys.argv[4]
host, port, root = sys.argv[5], int(sys.argv[6]), pathlib.Path(sys.argv[7]).read_text()
resolver = fleet.resolver(nodes, identity, service_config)


def attempt(what, **changed):
    tenant = fleet.resolve(resolver, domain)
    tenant.MergeFrom(Resolution(**changed))
    try:
        fleet.connect(resolver, tenant, "walls").close()
    except Exception as error:
        say("refused", what=what, told=str(error))
    else:
        say("let in", what=what)


attempt("nothing")
attempt("host", write={"host": host, "port": port})
attempt("root", server_ca_pem=root)
tenant = fleet.resolve(resolver, domain)
fleet.acknowledge(resolver, tenant, tenant.credential_version + 1, "walls")
