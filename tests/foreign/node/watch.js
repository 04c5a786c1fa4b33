// Follows every tenant that the service may see, on any node, from the revision where it stood.
const { setTimeout: pause } = require("node:timers/promises");

const SILENCE_MAX_MS = 3_000; // a bookmark comes each second

async function follow(resolver, hear, after = "0") {
  for (;;) {
    hear("opened", after);
    const stream = resolver.Watch({ after_revision: after });
    const silence = setTimeout(() => stream.cancel(), SILENCE_MAX_MS);
    try {
      for await (const message of stream) {
        silence.refresh();
        const kind = Object.keys(message).find((name) => message[name]);
        const event = message[kind];
        hear(kind, event);
        if (kind === "initial_done" || kind === "delta") after = event.revision;
        // A bookmark of revision 0 says that our turn to list has not come.
        if (kind === "bookmark" && event.freshness.revision !== "0") after = event.freshness.revision;
        if (kind === "lagged") after = event.resume_after_revision;
        if (kind === "compacted") after = "0";
      }
    } catch (error) {
      hear("broken", error);
    }
    clearTimeout(silence);
    await pause(Math.random() * 1000); // those who were cut off together do not come back together
  }
}

module.exports = { follow };
