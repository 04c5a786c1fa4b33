// A service in Node: a channel over all nodes, a tenant by its domain, a connection to its database.
const crypto = require("node:crypto"), fs = require("node:fs"), path = require("node:path");
const grpc = require("@grpc/grpc-js"), protos = require("@grpc/proto-loader"), pg = require("pg");

const options = { includeDirs: [process.env.REEVE_PROTO], keepCase: true, longs: String, enums: String, defaults: true };
const files = ["reeve/v1/access.proto", "reeve/v1/resolver.proto"];
const { AccessService, ResolverService } = grpc.loadPackageDefinition(protos.loadSync(files, options)).reeve.v1;

function client(Service, nodes, identity, cluster, serviceConfig) {
  const [root, key, chain] = ["root.crt", "client.key", "client.crt"].map((name) => fs.readFileSync(path.join(identity, name)));
  // A node is known by its identity, wherever it lives.
  const isNode = (name) => name.startsWith(`URI:spiffe://${cluster}/node/`);
  const checkServerIdentity = (host, { subjectaltname }) =>
    subjectaltname.split(", ").some(isNode) ? undefined : new Error(`${host} is no node of ${cluster}`);
  const channel = {
    "grpc.service_config": fs.readFileSync(serviceConfig, "utf8"),
    "grpc.keepalive_time_ms": 2_000, "grpc.keepalive_timeout_ms": 2_000, // a node may hang without a word
    "grpc.max_reconnect_backoff_ms": 5_000, // one that comes back is used again
  };
  return new Service(`ipv4:${nodes.join(",")}`, grpc.credentials.createSsl(root, key, chain, { checkServerIdentity }), channel);
}

const access = (...place) => client(AccessService, ...place);
const resolver = (...place) => client(ResolverService, ...place);

const call = (client, method, request) =>
  new Promise((done, failed) => client[method](request, (error, answer) => (error ? failed(error) : done(answer))));

const resolve = async (resolver, domain) =>
  (await call(resolver, "Resolve", { claim: { kind: "KIND_DOMAIN", key: domain } })).resolution;

async function connect(resolver, tenant, instance) {
  const asked = { tenant_id: tenant.tenant_id, version: tenant.credential_version, instance };
  const { role, password, server_ca_sha256 } = await call(resolver, "GetCredential", asked);
  const { raw } = new crypto.X509Certificate(tenant.server_ca_pem);
  if (!crypto.createHash("sha256").update(raw).digest().equals(server_ca_sha256))
    throw new Error("the database servers' CA is not the one named with the credential");
  const { host, port } = tenant.write;
  // With `ca` node-postgres verifies chain and host; it has to be told a host that is an address.
  const ssl = { ca: tenant.server_ca_pem, host };
  const client = new pg.Client({ host, port, database: tenant.database, user: role, password, ssl, application_name: instance });
  await client.connect();
  return client;
}

/** No earlier version is held any more; one more than the version in force: none at all. */
const acknowledge = (resolver, { tenant_id }, version, instance) =>
  call(resolver, "AcknowledgeCredential", { tenant_id, version, instance });

module.exports = { access, acknowledge, call, connect, resolve, resolver };
