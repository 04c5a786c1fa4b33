use super::{Error, LogFormat, load};

const FILE: &str = r#"
cluster = "hospital"
node_id = 1
data_dir = "/var/lib/reeve"
[listen]
api = "127.0.0.1:9400"
[identity]
cert = "n.crt"
key = "n.key"
ca = "root.crt"
[keys]
path = "root.key"
[dial]
peers = { "2" = "127.0.0.1:9102" }
"#;

fn read(env: &[(&str, &str)], flags: &[&str]) -> Result<super::Layered, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reeve.toml");
    std::fs::write(&path, FILE).unwrap();
    let env = env
        .iter()
        .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    let flags: Vec<_> = flags.iter().map(|f| (*f).to_owned()).collect();
    load(&path, env, &flags)
}

#[test]
fn the_later_layer_wins() {
    let env = [
        ("REEVE_REGISTRY_LISTEN__PEER", "127.0.0.1:9401"),
        ("REEVE_REGISTRY_NODE_ID", "2"),
        ("REEVE_CONFIG", "of another program"),
        ("REEVE_REGISTRY_CONFIG", "where the file is"),
    ];
    let config = read(&env, &["node_id=3", "logs.format=json"]).unwrap().config;
    assert_eq!(config.listen.api.port(), 9400);
    assert_eq!(config.listen.peer.port(), 9401);
    assert_eq!(config.listen.http.port(), 7403);
    assert_eq!((config.node_id, config.logs.format), (3, LogFormat::Json));
    assert_eq!(config.dialled().unwrap()[&2], "127.0.0.1:9102");
    assert_eq!(config.peer_address(), "127.0.0.1:9401");
}

#[test]
fn each_setting_says_where_it_came_from() {
    let env = [("REEVE_REGISTRY_LISTEN__PEER", "127.0.0.1:9401")];
    let page = read(&env, &["runtime.drain_ms=10"]).unwrap().print(true).unwrap();
    let line = |key: &str| {
        page.lines()
            .find(|l| l.starts_with(key))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        line("listen.api = \"127.0.0.1:9400\"").contains("reeve.toml"),
        "{page}"
    );
    assert!(
        line("listen.peer").ends_with("# REEVE_REGISTRY_LISTEN__PEER"),
        "{page}"
    );
    assert!(line("runtime.drain_ms = 10").ends_with("# flag --set"), "{page}");
    assert!(line("raft.profile = \"lan\"").ends_with("# default"), "{page}");
    assert!(line("bench.empty = false").ends_with("# default"), "{page}");
}

#[test]
fn an_error_names_the_field() {
    let wrong = [
        ("data_dir=", "data_dir"),
        ("cluster=No Such", "cluster"),
        ("advertise.api=nowhere", "advertise.api"),
        ("dial.peers.x=127.0.0.1:1", "dial.peers"),
        ("listen.api=here", "listen.api"),
        ("listen.apy=127.0.0.1:1", "apy"),
        ("raft.profile=moon", "raft.profile"),
        ("bench.empty=perhaps", "bench.empty"),
        ("backup.every_ms=60000", "backup.url"),
        ("backup.every_ms=5", "backup.every_ms"),
        ("backup.s3.secret_key=hush", "secret_key"),
    ];
    for (flag, field) in wrong {
        let error = read(&[], &[flag]).unwrap_err();
        let told = match &error {
            Error::Read(inner) => format!("{error}: {inner}"),
            Error::Field { .. } => error.to_string(),
        };
        assert!(told.contains(field), "{flag}: {told}");
    }
}

const BUCKET: [&str; 2] = ["backup.every_ms=60000", "backup.url=s3://backups/reeve"];

#[test]
fn a_store_that_cannot_be_is_told_by_its_field() {
    read(&[], &BUCKET).unwrap();
    let wrong = [
        ("backup.url=s3://hush:hush@backups/x", "backup.url"),
        ("backup.url=gs://backups", "backup.url"),
        ("backup.keep_ms=5", "backup.keep_ms"),
        ("backup.keep=100000", "backup.keep"),
        ("backup.deadline_ms=5", "backup.deadline_ms"),
        ("backup.s3.region=", "backup.s3.region"),
        ("backup.s3.patience_ms=1", "backup.s3.patience_ms"),
        ("backup.s3.access_key_file=/a", "backup.s3.secret_key_file"),
        ("backup.s3.endpoint=here", "backup.s3.endpoint"),
        ("backup.s3.endpoint=ftp://x.example", "backup.s3.endpoint"),
        (
            "backup.s3.endpoint=https://a:hush@x.example",
            "backup.s3.endpoint",
        ),
        (
            "backup.s3.endpoint=https://x.example/b?hush",
            "backup.s3.endpoint",
        ),
        ("backup.s3.endpoint=http://x.example:9000", "allow_plain_http"),
        ("backup.s3.endpoint=http://10.0.0.1", "allow_plain_http"),
    ];
    for (flag, field) in wrong {
        let told = read(&[], &[BUCKET.as_slice(), &[flag]].concat())
            .unwrap_err()
            .to_string();
        assert!(told.contains(field), "{flag}: {told}");
        assert!(!told.contains("hush@"), "{flag}: {told}");
    }
    for fine in [
        "backup.s3.endpoint=http://127.0.0.1:9000",
        "backup.s3.endpoint=http://localhost",
        "backup.s3.endpoint=http://[::1]:9000",
        "backup.s3.endpoint=https://minio.example:9000",
    ] {
        read(&[], &[BUCKET.as_slice(), &[fine]].concat()).unwrap();
    }
    let plain = [
        "backup.s3.endpoint=http://10.0.0.1",
        "backup.s3.allow_plain_http=true",
    ];
    read(&[], &[BUCKET.as_slice(), &plain].concat()).unwrap();
}

#[test]
fn a_webhook_or_runbooks_that_cannot_be_are_told_by_their_field() {
    let wrong = [
        "alerts.webhook=pager",
        "alerts.webhook=http://pager.example/x",
        "alerts.webhook=ftp://pager.example/x",
        "alerts.webhook=https://a:hush@pager.example/x",
        "alerts.webhook=https://pager.example/x#hush",
        "alerts.runbooks=docs/runbooks",
        "alerts.runbooks=file:///docs/runbooks",
        "alerts.runbooks=https://a:hush@wiki.example/reeve",
        "alerts.runbooks=https://wiki.example/reeve?page=hush",
        "alerts.runbooks=https://wiki.example/reeve#hush",
        "alerts.patience_ms=1",
    ];
    for flag in wrong {
        let field = flag.split('=').next().unwrap();
        let told = read(&[], &[flag]).unwrap_err().to_string();
        assert!(told.contains(field) && !told.contains("hush"), "{flag}: {told}");
    }
    for fine in [
        "alerts.webhook=https://pager.example/x?key=1",
        "alerts.webhook=http://127.0.0.1:9000/x",
        "alerts.webhook=http://localhost/x",
        "alerts.runbooks=https://wiki.example/reeve/",
    ] {
        read(&[], &[fine]).unwrap();
    }
}

#[test]
fn the_store_alone_can_be_read_from_a_nodes_file_and_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.toml");
    std::fs::write(
        &path,
        "cluster = \"hospital\"\n[backup.s3]\nendpoint = \"https://a\"\nregion = \"r\"\n",
    )
    .unwrap();
    let env = [("REEVE_REGISTRY_BACKUP__S3__REGION".to_owned(), "other".to_owned())];
    let backup = super::load_backup(Some(&path), env).unwrap();
    assert_eq!(
        (backup.s3.endpoint.as_str(), backup.s3.region.as_str()),
        ("https://a", "other")
    );
    let none = super::load_backup(Some(&folder.path().join("no")), []).unwrap_err();
    assert!(none.to_string().contains("--settings"), "{none}");
}
