//! What docs/clients.md shows is what runs, and what is shipped for every client repeats only what may be said twice.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use prost_reflect::DescriptorPool;
use reeve_foreign::root;
use serde_json::{Value, json};

const SHOWN: [&str; 9] = [
    "src/example.rs",
    "python/fleet.py",
    "node/fleet.js",
    "python/errors.py",
    "node/errors.js",
    "python/watch.py",
    "node/watch.js",
    "python/renewal.py",
    "node/renewal.js",
];

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The insides of a page's fences.
fn code(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<String> = None;
    for line in page.lines() {
        match (line.starts_with("```"), &mut open) {
            (true, Some(_)) => blocks.extend(open.take()),
            (true, None) => open = Some(String::new()),
            (false, Some(block)) => *block += &format!("{line}\n"),
            (false, None) => {}
        }
    }
    blocks
}

#[test]
fn the_page_shows_the_programs_that_run_and_no_others() {
    assert_eq!(code("a\n```sh\nb\n\nc\n```\nd"), ["b\n\nc\n"]);

    let shown = code(&read("docs/clients.md"));
    let run: Vec<String> = SHOWN
        .map(|file| read(Path::new("tests/foreign").join(file)))
        .into();
    for (file, text) in SHOWN.iter().zip(&run) {
        assert!(
            shown.contains(text),
            "docs/clients.md does not show tests/foreign/{file} as it is"
        );
    }
    let strange: Vec<_> = shown.iter().filter(|block| !run.contains(block)).collect();
    assert!(
        strange.is_empty(),
        "docs/clients.md shows what nobody runs: {strange:#?}"
    );
}

/// The methods that a config has repeated; what must not be repeated is told.
fn repeated(config: &Value) -> Result<Vec<String>> {
    let pool = DescriptorPool::decode(reeve_proto::DESCRIPTORS)?;
    let mut methods = Vec::new();
    for one in list(config, "methodConfig")? {
        for name in list(one, "name")? {
            let (service, method) = (name["service"].as_str(), name["method"].as_str());
            let found = pool
                .get_service_by_name(service.unwrap_or_default())
                .and_then(|service| service.methods().find(|one| Some(one.name()) == method));
            let found = found.with_context(|| format!("there is no {name}"))?;
            let Some(policy) = one.get("retryPolicy") else {
                continue;
            };
            let is_change = found.input().get_field_by_name("request_id").is_some();
            ensure!(!is_change && !found.is_server_streaming(), "{name} is repeated");
            let after = &policy["retryableStatusCodes"];
            ensure!(
                *after == json!(["UNAVAILABLE"]),
                "{name} is repeated after {after}"
            );
            methods.push(found.name().to_owned());
        }
    }
    let health = config["healthCheckConfig"]["serviceName"].as_str();
    let served = pool.get_service_by_name(health.unwrap_or_default());
    ensure!(served.is_some(), "nobody serves {health:?}");
    Ok(methods)
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("{key} is missing"))
}

#[test]
fn the_shipped_config_repeats_only_what_may_be_said_twice() {
    let shipped = read("deploy/clients/service-config.json");
    let judged = |from: &str, to: &str| {
        assert!(shipped.contains(from), "nothing was planted: {from}");
        repeated(&serde_json::from_str(&shipped.replace(from, to)).unwrap())
    };
    assert_eq!(
        judged("{", "{").unwrap(),
        [
            "Resolve",
            "BatchResolve",
            "GetCredential",
            "AcknowledgeCredential"
        ]
    );
    for (from, to, why) in [
        ("\"BatchResolve\"", "\"Watch\"", "is repeated"),
        ("\"UNAVAILABLE\"", "\"ABORTED\"", "after"),
        ("\"Resolve\"", "\"Solve\"", "there is no"),
        (
            "\"serviceName\": \"reeve.v1.ResolverService\"",
            "\"serviceName\": \"x\"",
            "nobody serves",
        ),
        (
            "{ \"service\": \"reeve.v1.ResolverService\", \"method\": \"Resolve\" }",
            "{ \"service\": \"reeve.v1.TenantService\", \"method\": \"UpdateTenant\" }",
            "is repeated",
        ),
    ] {
        let told = judged(from, to).unwrap_err().to_string();
        assert!(told.contains(why), "{to}: {told}");
    }
}
