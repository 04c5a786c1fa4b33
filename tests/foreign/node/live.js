// A service at work: resolves without end, watches, and changes its connection when its tenant's credential changes.
//   live.js NODES IDENTITY CLUSTER SERVICE_CONFIG DOMAIN: says what it sees, and leaves when its input ends.
const crypto = require("node:crypto"), path = require("node:path"), process = require("node:process");
const { setTimeout: pause } = require("node:timers/promises");
const { status } = require("@grpc/grpc-js");
const errors = require("./errors"), fleet = require("./fleet");
const renewal = require("./renewal"), watch = require("./watch");
const { say } = require("./said");

const WORKERS = 4, ANSWERS_PER_LINE = 50, PAUSE_MS = 5;
const [nodes, identity, cluster, serviceConfig, domain] = process.argv.slice(2);
const resolver = fleet.resolver(nodes.split(","), identity, cluster, serviceConfig);
const instance = `node-${crypto.randomUUID()}`;
let isLeaving = false;

/** Every answer counts, and so does every call that fails. */
async function resolveOn(level) {
  const claim = { kind: "KIND_DOMAIN", key: domain };
  const request = { claim, read: level === "linearizable" ? { linearizable: {} } : null };
  let answeredBy = [];
  while (!isLeaving) {
    try {
      answeredBy.push(Number((await fleet.call(resolver, "Resolve", request)).freshness.node_id));
    } catch (error) {
      say("failed", { level, code: status[error.code], reason: errors.reason(error), told: error.details });
    }
    if (answeredBy.length === ANSWERS_PER_LINE) {
      say("resolved", { level, nodes: [...new Set(answeredBy)].sort() });
      answeredBy = [];
    }
    await pause(PAUSE_MS);
  }
}

function watchFor(tenantId, version, tell) {
  const told = {
    opened: (revision) => ({ revision: Number(revision) }),
    broken: (error) => ({ code: status[error.code] }),
    bookmark: ({ freshness }) => ({ revision: Number(freshness.revision), node: Number(freshness.node_id) }),
    initial_done: ({ revision }) => ({ revision: Number(revision) }),
    delta: ({ revision }) => ({ revision: Number(revision) }),
    lagged: () => ({}),
    compacted: () => ({}),
  };
  return watch.follow(resolver, (kind, event) => {
    if (told[kind]) say("watch", { kind, ...told[kind](event) });
    for (const tenant of kind === "initial" ? [event] : kind === "delta" ? event.changed : []) {
      if (tenant.tenant_id !== tenantId || Number(tenant.credential_version) <= version) continue;
      version = Number(tenant.credential_version);
      tell(tenant);
    }
  });
}

/** A connection with the credential in force; then nothing earlier is held any more. */
async function use(tenant, former) {
  const connection = await fleet.connect(resolver, tenant, instance);
  const { rows } = await connection.query(
    "SELECT ssl, (SELECT count(*) FROM patient) FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
  );
  await former?.end();
  await fleet.acknowledge(resolver, tenant, tenant.credential_version, instance);
  const version = Number(tenant.credential_version);
  say("connected", { role: connection.user, version, encrypted: rows[0].ssl, patients: Number(rows[0].count) });
  return connection;
}

async function main() {
  let tenant = await fleet.resolve(resolver, domain);
  let connection = await use(tenant);
  // One change after the other, in the order in which they were heard.
  let changing = Promise.resolve();
  const change = async (newer) => ([tenant, connection] = [newer, await use(newer, connection)]);
  watchFor(tenant.tenant_id, Number(tenant.credential_version), (newer) => (changing = changing.then(() => change(newer))));
  const workers = Array.from({ length: WORKERS }, (_, i) => resolveOn(["bounded", "linearizable"][i % 2]));

  for await (const _ of process.stdin);
  isLeaving = true;
  await Promise.all(workers);
  await changing;
  await connection.query("SELECT 1");
  await connection.end();
  await fleet.acknowledge(resolver, tenant, Number(tenant.credential_version) + 1, instance);
  const successor = path.join(path.dirname(identity), instance);
  await renewal.renew(fleet.access(nodes.split(","), identity, cluster, serviceConfig), identity, successor);
  await fleet.resolve(fleet.resolver(nodes.split(","), successor, cluster, serviceConfig), domain);
  say("left", { identity: instance });
  process.exit(0); // the watch has no end of its own
}

main();
