// Asks what the cases of a table ask, and says what was answered.
//   contract.js NODES IDENTITIES CLUSTER SERVICE_CONFIG CASES: each case is asked as the identity that it names.
const fs = require("node:fs"), path = require("node:path"), process = require("node:process");
const { status } = require("@grpc/grpc-js");
const errors = require("./errors"), fleet = require("./fleet");
const { say } = require("./said");

const [nodes, identities, cluster, serviceConfig, cases] = process.argv.slice(2);
const resolvers = {};
const resolver = (name) =>
  (resolvers[name] ??= fleet.resolver(nodes.split(","), path.join(identities, name), cluster, serviceConfig));

/** proto3's JSON writes a length of time as "1.5s"; proto-loader takes its fields. */
function request({ read, ...others }) {
  if (!read?.bounded) return { read, ...others };
  const seconds = parseFloat(read.bounded);
  const nanos = Math.round((seconds - Math.trunc(seconds)) * 1e9);
  return { read: { bounded: { seconds: Math.trunc(seconds), nanos } }, ...others };
}

async function ask(one) {
  try {
    return { code: "OK", answer: await fleet.call(resolver(one.as), one.call, request(one.request)) };
  } catch (error) {
    const violations = errors.detail(error, "BadRequest")?.field_violations ?? [];
    return {
      code: status[error.code],
      reason: errors.reason(error),
      metadata: errors.detail(error, "ErrorInfo")?.metadata ?? {},
      fields: violations.map((violation) => violation.field),
      message: error.details,
    };
  }
}

async function main() {
  for (const one of JSON.parse(fs.readFileSync(cases))) say("case", { name: one.name, ...(await ask(one)) });
  Object.values(resolvers).forEach((resolver) => resolver.close());
}

main();
