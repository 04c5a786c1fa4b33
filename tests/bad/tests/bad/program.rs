//! The same through `reeve`: its exit code, what it says and where, and that nothing changed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use reeve_bad::world::{World, spoilt};
use reeve_client::v1::Role;
use reeve_client::{KeyRequest, join};

use crate::certificates::{Leaf, mistaken};
use crate::{Tally, Watch};

/// As docs/cli.md has them.
const USAGE: i32 = 2;
const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const NOT_ALLOWED: i32 = 5;
const UNAVAILABLE: i32 = 6;
const UNDONE: i32 = 8;

/// What is said, how it ends, and what must be told.
struct Row {
    words: Vec<String>,
    code: i32,
    told: Vec<&'static str>,
}

pub async fn play(world: &World, watch: &mut Watch, tally: &mut Tally) -> Result<()> {
    let program = Program::of(world)?;
    let spent = program.spent().await?;
    let garbage = world.folder().join("garbage.token");
    std::fs::write(&garbage, "jt_of_nobody")?;
    watch.forget().await?;
    let mut rows = table(world);
    rows.push(row(
        &["cluster", "enroll", "--token-file", text(&spent), "--name", "x"],
        NOT_ALLOWED,
        &["TOKEN_USED"],
    ));
    rows.push(row(
        &["cluster", "enroll", "--token-file", text(&garbage), "--name", "x"],
        USAGE,
        &["garbage.token"],
    ));
    for row in rows {
        let ran = program.run(&row.words)?;
        let mut faults = row.faults(&ran);
        faults.extend(watch.changes().await?);
        tally.note(&format!("reeve {}", row.words.join(" ")), faults, &shown(&ran));
    }
    for row in program.doors() {
        let ran = program.bare(&row.words)?;
        let mut faults = row.faults(&ran);
        faults.extend(watch.changes().await?);
        tally.note(&format!("reeve {}", row.words.join(" ")), faults, &shown(&ran));
    }
    for row in program.mistaken()? {
        let ran = program.bare(&row.words)?;
        let mut faults = row.faults(&ran);
        faults.extend(watch.changes().await?);
        tally.note(&format!("reeve {}", row.words.join(" ")), faults, &shown(&ran));
    }
    folders(&program, tally)?;
    watch.forget().await
}

/// A schema's folder that is not as its list says: the tenant is taken back, and its name is free again.
fn folders(program: &Program<'_>, tally: &mut Tally) -> Result<()> {
    let told = [
        "version 2 is missing, twice",
        "version 2 is missing, twice",
        "V001__people.sql was changed",
        "leads out",
    ];
    for ((channel, _), told) in spoilt().into_iter().zip(told) {
        let slug = format!("of-{channel}");
        let create = ["tenant", "create", &slug, "--region", "vn", "--channel", channel];
        let undone = row(&create, UNDONE, &[]);
        let ran = program.run(&undone.words)?;
        let mut faults = undone.faults(&ran);
        if !String::from_utf8_lossy(&ran.stderr).contains(told) {
            faults.push(format!("it does not tell {told:?}"));
        }
        let gone = row(&["tenant", "get", &slug], NOT_FOUND, &["TENANT_NOT_FOUND"]);
        faults.extend(gone.faults(&program.run(&gone.words)?));
        let free = program.run(&words(&[
            "tenant",
            "create",
            &slug,
            "--region",
            "vn",
            "--dry-run",
        ]))?;
        if free.status.code() != Some(0) {
            faults.push(format!("its name is not free: {}", shown(&free)));
        }
        tally.note(&format!("a schema folder: {channel}"), faults, &shown(&ran));
    }
    Ok(())
}

fn table(world: &World) -> Vec<Row> {
    let create = |more: &[&str], code, told: &[&'static str]| {
        let mut words = vec!["tenant", "create", "da-nang", "--region", "vn"];
        words.extend(more);
        row(&words, code, told)
    };
    let operation = world.operation.as_str();
    vec![
        row(
            &["tenant", "create", "Chợ Rẫy", "--region", "vn"],
            USAGE,
            &["slug", "BAD_FIELD"],
        ),
        row(
            &["tenant", "create", "cho-ray", "--region", "vn"],
            CONFLICT,
            &["slug cho-ray", "CLAIM_TAKEN"],
        ),
        row(
            &["tenant", "create", "da-nang", "--region", "mars"],
            NOT_FOUND,
            &["mars", "REGION_UNKNOWN"],
        ),
        row(
            &["tenant", "create", "da-nang", "--region", "eu"],
            CONFLICT,
            &["eu", "NO_CAPACITY"],
        ),
        row(
            &["tenant", "create", "da-nang", "--region", "A!"],
            USAGE,
            &["region_policy.home"],
        ),
        create(
            &["--domain", "cho-ray.example"],
            CONFLICT,
            &["domain cho-ray.example", "CLAIM_TAKEN"],
        ),
        create(&["--domain", "a b"], USAGE, &["domain"]),
        create(&["--domain", "10.0.0.1"], USAGE, &["domain"]),
        create(&["--header", "X Tenant: a"], USAGE, &["header"]),
        create(&["--header", "X-Tenant: a\r\nX-Admin: b"], USAGE, &["header"]),
        create(&["--subject", "nobody"], USAGE, &["subject"]),
        create(&["--allow", "10.0.0.1/8"], USAGE, &["allowlist_cidrs[0]"]),
        create(&["--allow-region", "A!"], USAGE, &["region_policy.allowed[1]"]),
        create(&["--channel", "../ehr"], USAGE, &["schema.channel"]),
        create(&["--connections", "100000"], USAGE, &["limits.connections"]),
        create(&["--connections", "-1"], USAGE, &["'-1'"]),
        create(&["--schema-version", "99999999999"], USAGE, &["--schema-version"]),
        create(&["--class", "giant"], USAGE, &["--class"]),
        create(&["--label", "x"], USAGE, &["--label"]),
        create(
            &["--label", &format!("a={}", "x".repeat(256))],
            USAGE,
            &["labels"],
        ),
        create(&["--display-name", "a\nb"], USAGE, &["display_name"]),
        create(&["--request-id", World::USED_ID], USAGE, &["REQUEST_ID_REUSED"]),
        create(&["--request-id", "a b"], USAGE, &["request_id"]),
        create(&["--nonsense"], USAGE, &["--nonsense"]),
        row(
            &["tenant", "get", "nobody"],
            NOT_FOUND,
            &["nobody", "TENANT_NOT_FOUND"],
        ),
        row(&["tenant", "get", "a b"], USAGE, &["tenant", "BAD_FIELD"]),
        row(
            &["tenant", "get", &"x".repeat(5_000)],
            USAGE,
            &["tenant", "BAD_FIELD"],
        ),
        row(&["tenant", "status", "../x"], USAGE, &["tenant"]),
        row(
            &["tenant", "delete", "cho-ray", "--confirm", "bach-mai"],
            USAGE,
            &["cho-ray"],
        ),
        row(&["tenant", "delete", "cho-ray"], USAGE, &["--confirm"]),
        row(
            &["tenant", "delete", "nobody", "--confirm", "nobody"],
            NOT_FOUND,
            &["TENANT_NOT_FOUND"],
        ),
        row(
            &["tenant", "allowlist", "cho-ray", "10.0.0.1/8"],
            USAGE,
            &["allowlist_cidrs[0]"],
        ),
        row(&["tenant", "ls", "--state", "sleeping"], USAGE, &["--state"]),
        row(&["tenant", "ls", "--region", "A!"], USAGE, &["region"]),
        row(&["op", "get", "nope"], USAGE, &["operation"]),
        row(
            &["op", "get", "op_0123456789abcdef"],
            NOT_FOUND,
            &["OPERATION_NOT_FOUND"],
        ),
        row(&["op", "cancel", operation], CONFLICT, &["OPERATION_ENDED"]),
        row(&["op", "retry", operation], CONFLICT, &["OPERATION_ENDED"]),
        row(&["op", "limits", "--per-server", "0"], USAGE, &["per"]),
        row(&["op", "limits", "--per-region", "100000"], USAGE, &["per"]),
        row(&["op", "ls", "--tenant", "a b"], USAGE, &["tenant"]),
        row(&["group", "ls", "--region", "A!"], USAGE, &["region"]),
        row(
            &["isolation", "report", "--group", "nowhere"],
            NOT_FOUND,
            &["GROUP_NOT_FOUND"],
        ),
        row(&["isolation", "scan", "nobody"], NOT_FOUND, &["TENANT_NOT_FOUND"]),
        row(
            &["secret", "rotate", "cho-ray", "--grace", "100d"],
            USAGE,
            &["grace"],
        ),
        row(
            &["secret", "rotate", "cho-ray", "--grace", "soon"],
            USAGE,
            &["--grace"],
        ),
        row(&["alert", "ack", "nope"], USAGE, &["alert"]),
        row(
            &["alert", "ack", "a_0123456789abcdef"],
            NOT_FOUND,
            &["ALERT_NOT_FOUND"],
        ),
        row(&["alert", "test", "--note", "a\nb"], USAGE, &["note"]),
        row(
            &["cluster", "remove-node", "77", "--confirm", "hospital/77"],
            NOT_FOUND,
            &["no node 77"],
        ),
        row(
            &["cluster", "remove-node", "1", "--confirm", "hospital/2"],
            USAGE,
            &["hospital/1"],
        ),
        row(&["cluster", "remove-node", "one"], USAGE, &["one"]),
        row(
            &["cluster", "transfer-leader", "--to", "77"],
            NOT_FOUND,
            &["NODE_NOT_FOUND"],
        ),
        row(
            &[
                "cluster",
                "join-token",
                "--role",
                "agent",
                "--name",
                "a",
                "--region",
                "mars",
            ],
            NOT_FOUND,
            &["REGION_UNKNOWN"],
        ),
        row(
            &["cluster", "join-token", "--role", "auditor", "--name", "a b"],
            USAGE,
            &["name"],
        ),
        row(
            &["cluster", "join-token", "--role", "king", "--name", "a"],
            USAGE,
            &["--role"],
        ),
        row(
            &[
                "cluster",
                "join-token",
                "--role",
                "service",
                "--name",
                "a",
                "--tenant",
                "nobody",
            ],
            NOT_FOUND,
            &["TENANT_NOT_FOUND"],
        ),
        row(&["resolve", "nobody.example"], NOT_FOUND, &["TENANT_NOT_FOUND"]),
        row(&["resolve", "a b"], USAGE, &["slug"]),
        row(&["resolve", "--header", "X-Tenant"], USAGE, &["header"]),
        row(
            &["audit", "tail", "--shard", "nope"],
            NOT_FOUND,
            &["nope", "TENANT_NOT_FOUND"],
        ),
        row(&["tenant", "ls", "--timeout", "soon"], USAGE, &["--timeout"]),
        row(&["tenant", "ls", "-o", "xml"], USAGE, &["--output"]),
    ]
}

impl Row {
    fn faults(&self, ran: &Output) -> Vec<String> {
        let said = String::from_utf8_lossy(&ran.stderr);
        let mut faults = Vec::new();
        if ran.status.code() != Some(self.code) {
            faults.push(format!(
                "it ends with {:?}, and {} was expected",
                ran.status.code(),
                self.code
            ));
        }
        // What was undone is the result of an operation that was begun.
        if !ran.stdout.is_empty() && self.code != UNDONE {
            faults.push("it has a result".to_owned());
        }
        if !said.lines().any(|line| line.starts_with("error: ")) {
            faults.push("it does not say what".to_owned());
        }
        // The command line's own errors show how it is said.
        if !["  fix: ", "  try again in: ", "--help"]
            .iter()
            .any(|next| said.contains(next))
            && self.code != UNDONE
        {
            faults.push("it does not say what to do".to_owned());
        }
        let missing = self.told.iter().filter(|told| !said.contains(**told));
        faults.extend(missing.map(|told| format!("it does not tell {told:?}")));
        faults
    }
}

struct Program<'a> {
    world: &'a World,
    path: PathBuf,
}

impl Program<'_> {
    fn of(world: &World) -> Result<Program<'_>> {
        let own = std::env::current_exe()?;
        let beside = own.ancestors().skip(1).take(2).map(|dir| dir.join("reeve"));
        let Some(path) = beside.into_iter().find(|path| path.is_file()) else {
            bail!("reeve is not beside {}; build it", own.display());
        };
        Ok(Program { world, path })
    }

    /// As the fleet's admin.
    fn run(&self, words: &[String]) -> Result<Output> {
        let files = self.world.fleet.admin_files();
        let mut all = words.to_vec();
        all.extend(["--nodes", &self.world.asked].map(str::to_owned));
        for (flag, file) in [("--ca", files.ca), ("--cert", files.cert), ("--key", files.key)] {
            all.extend([flag.to_owned(), file.display().to_string()]);
        }
        self.bare(&all)
    }

    /// With nothing but what is said.
    fn bare(&self, words: &[String]) -> Result<Output> {
        let ran = Command::new(&self.path)
            .args(words)
            .env("REEVE_CONFIG", self.world.folder().join("config.toml"))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output();
        ran.with_context(|| self.path.display().to_string())
    }

    /// A token that somebody has used, in a file.
    async fn spent(&self) -> Result<PathBuf> {
        let fleet = &self.world.fleet;
        let token = fleet.token(Role::Operator, "hoa", "", &[]).await?;
        join::enroll(&fleet.addresses(), &token, &KeyRequest::generate()?).await?;
        let file = self.world.folder().join("spent.token");
        std::fs::write(&file, token.to_string())?;
        Ok(file)
    }

    /// Certificates that are shown by mistake.
    fn mistaken(&self) -> Result<Vec<Row>> {
        let ca = self.world.fleet.admin_files().ca;
        let written = |(name, leaf, told): (&str, Leaf, &'static str)| {
            let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
            let (cert, key) = (self.world.folder().join(cert), self.world.folder().join(key));
            std::fs::write(&cert, leaf.chain)?;
            std::fs::write(&key, leaf.key)?;
            let words = ["tenant", "ls", "--timeout", "5s", "--nodes", &self.world.asked];
            let files = ["--ca", text(&ca), "--cert", text(&cert), "--key", text(&key)];
            Ok(row(&[words.as_slice(), &files].concat(), NOT_ALLOWED, &[told]))
        };
        mistaken(self.world)?.into_iter().map(written).collect()
    }

    /// Who is asked, and as whom.
    fn doors(&self) -> Vec<Row> {
        let files = self.world.fleet.admin_files();
        let (ca, cert, key) = (text(&files.ca), text(&files.cert), text(&files.key));
        let node = self.world.fleet.dir().join("n1/node.key.pem");
        let asked = self.world.asked.as_str();
        let list = |more: &[&str], code, told: &[&'static str]| {
            let mut words = vec!["tenant", "ls", "--timeout", "5s"];
            words.extend(more);
            row(&words, code, told)
        };
        vec![
            list(&[], USAGE, &["--nodes"]),
            list(&["--nodes", asked, "--ca", ca, "--cert", cert], USAGE, &["--key"]),
            list(
                &[
                    "--nodes",
                    asked,
                    "--ca",
                    "/nowhere.crt",
                    "--cert",
                    cert,
                    "--key",
                    key,
                ],
                NOT_ALLOWED,
                &["/nowhere.crt"],
            ),
            list(
                &["--nodes", asked, "--ca", ca, "--cert", cert, "--key", text(&node)],
                NOT_ALLOWED,
                &["key"],
            ),
            list(
                &["--nodes", asked, "--ca", ca, "--cert", ca, "--key", key],
                NOT_ALLOWED,
                &["certificate"],
            ),
            list(
                &["--nodes", "a b", "--ca", ca, "--cert", cert, "--key", key],
                USAGE,
                &["nodes"],
            ),
            list(
                &["--nodes", "127.0.0.1:1", "--ca", ca, "--cert", cert, "--key", key],
                UNAVAILABLE,
                &["--nodes"],
            ),
            list(&["--context", "nobody"], USAGE, &["nobody"]),
        ]
    }
}

fn row(words: &[&str], code: i32, told: &[&'static str]) -> Row {
    Row {
        words: self::words(words),
        code,
        told: told.to_vec(),
    }
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

fn shown(ran: &Output) -> String {
    let said: String = String::from_utf8_lossy(&ran.stderr).chars().take(700).collect();
    format!("{:?} {said}", ran.status.code())
}
