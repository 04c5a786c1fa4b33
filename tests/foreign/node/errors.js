// Why a call failed, beside its code. grpc-js does not bring google.rpc along: google_rpc.proto has the part that is used.
const google = require("@grpc/proto-loader").loadSync("google_rpc.proto", { includeDirs: [__dirname], keepCase: true });

/** The detail of this kind (ErrorInfo, BadRequest, RetryInfo), if there is one. */
function detail(error, kind) {
  const [bytes] = error.metadata?.get("grpc-status-details-bin") ?? [];
  const { details } = bytes ? google["google.rpc.Status"].deserialize(bytes) : {};
  const found = details?.find((one) => one.type_url.endsWith(`/google.rpc.${kind}`));
  return found && google[`google.rpc.${kind}`].deserialize(found.value);
}

function reason(error) {
  const info = detail(error, "ErrorInfo");
  return info?.domain === "reeve.dev" ? info.reason : undefined;
}

module.exports = { detail, reason };
