// Tries what must not succeed: its tenant's database under another host, and with another root.
//   walls.js NODES IDENTITY CLUSTER SERVICE_CONFIG DOMAIN HOST PORT ROOT
const fs = require("node:fs"), process = require("node:process");
const fleet = require("./fleet");
const { say } = require("./said");

const [nodes, identity, cluster, serviceConfig, domain, host, port, root] = process.argv.slice(2);
const resolver = fleet.resolver(nodes.split(","), identity, cluster, serviceConfig);

async function attempt(what, changed) {
  const tenant = await fleet.resolve(resolver, domain);
  try {
    await (await fleet.connect(resolver, { ...tenant, ...changed }, "walls")).end();
  } catch (error) {
    return say("refused", { what, told: error.message });
  }
  say("let in", { what });
}

async function main() {
  await attempt("nothing", {});
  await attempt("host", { write: { host, port: Number(port) } });
  await attempt("root", { server_ca_pem: fs.readFileSync(root, "utf8") });
  const tenant = await fleet.resolve(resolver, domain);
  await fleet.acknowledge(resolver, tenant, Number(tenant.credential_version) + 1, "walls");
  resolver.close();
}

main();
