// Renews a service's certificate: a new key, and what certifies it, in a folder of their own.
const fs = require("node:fs"), path = require("node:path");
const { execFileSync } = require("node:child_process");
const { call } = require("./fleet");

// Whatever the request calls itself: whoever asks gets its own name again.
const REQUEST = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=service".split(" ");

async function renew(access, identity, successor) {
  fs.mkdirSync(successor, { mode: 0o700 });
  const file = (name) => path.join(successor, name);
  execFileSync("openssl", [...REQUEST, "-keyout", file("client.key"), "-out", file("client.csr")], { stdio: "pipe" });
  const asked = { csr_pem: fs.readFileSync(file("client.csr"), "utf8") };
  fs.writeFileSync(file("client.crt"), (await call(access, "RenewCertificate", asked)).certificate_chain_pem);
  fs.copyFileSync(path.join(identity, "root.crt"), file("root.crt"));
}

module.exports = { renew };
