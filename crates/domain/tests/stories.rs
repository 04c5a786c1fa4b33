//! Stories: a script, a line, and what the state says to it. `UPDATE=1` writes what is said now.

mod world;

use std::fmt::Write;
use std::path::Path;

use reeve_domain::access::Expect;
use reeve_domain::credential::Next;
use reeve_domain::operation::{Allow, Operation, Outcome, Retry, Rotate, Turn, Wanted};
use reeve_domain::plan::operations::{Verdict, judge, orders_for};
use reeve_domain::plan::{Sighting, Sightings};
use reeve_domain::policy::Role;
use reeve_domain::resolve;
use reeve_domain::words::{Cidr, Claim, Domain, Slug};
use reeve_domain::{Applied, Command, Event, Stamp, TenantId};
use world::{World, name};

#[test]
fn stories_go_as_they_are_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stories");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 8, "the stories are missing");
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let (script, told) = text.split_once("---\n").unwrap_or((&text, ""));
        let said = tell(script);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, format!("{script}---\n{said}")).unwrap();
        } else {
            assert_eq!(said, told, "{}", path.display());
        }
    }
}

fn tell(script: &str) -> String {
    let mut teller = Teller {
        world: World {
            now: 1_000,
            ..World::default()
        },
        ..Teller::default()
    };
    for line in script.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        teller.line(line);
    }
    teller.out
}

#[derive(Default)]
struct Teller {
    world: World,
    sightings: Sightings,
    out: String,
}

impl Teller {
    fn line(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let option = |key: &str| words.iter().find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
        let number = |key, default: u8| option(key).map_or(default, |n| n.parse().unwrap());
        let serial = |i: usize| words[i].trim_start_matches('#').parse::<u64>().unwrap();
        let world = &mut self.world;
        let applied = match words[0] {
            "cluster" => {
                let regions: Vec<&str> = words[1].split(',').collect();
                *world = World::with_regions(&regions);
                return;
            }
            "wait" => {
                world.now += words[1].trim_end_matches("ms").parse::<u64>().unwrap();
                return;
            }
            "seen" => {
                let sighting = Sighting {
                    seen: Stamp(world.now),
                    lag_bytes: 0,
                    connections: 1,
                    audited: None,
                };
                self.sightings.agents.insert(name(words[1]), sighting);
                return;
            }
            "create" => world.create(
                serial(1),
                words[2],
                option("region").unwrap_or("vn"),
                option("domain"),
            ),
            "ask" => {
                let order = world.order(serial(1), words[2], "vn", None);
                world.ask(
                    option("id").unwrap(),
                    option("hash").unwrap().parse().unwrap(),
                    Command::CreateTenant(order),
                )
            }
            "delete" => world.delete(serial(1), words[2], option("confirm").unwrap_or(words[2])),
            "allow" => {
                let known = world.state.find_tenant(words[2]).map(|t| t.id.clone());
                world.say(Command::SetAllowlist(Allow {
                    tenant: known.unwrap_or_else(|_| TenantId::from_random(0)),
                    operation: world.operation(serial(1)),
                    etag: option("etag").unwrap_or("").to_owned(),
                    allowlist: words[3]
                        .split(',')
                        .map(|cidr| Cidr::parse(cidr).unwrap())
                        .collect(),
                    turn: Turn::default(),
                }))
            }
            "rotate" => {
                let tenant = world.state.find_tenant(words[2]).unwrap();
                let (slot, version) = (tenant.credential.active.other(), tenant.credential.version + 1);
                let order = Rotate {
                    tenant: tenant.id.clone(),
                    operation: world.operation(serial(1)),
                    etag: String::new(),
                    next: Next {
                        version,
                        slot,
                        sealed: world::sealed("next"),
                    },
                    leaked: words.contains(&"leaked"),
                    grace_ms: 60_000,
                    turn: Turn::default(),
                };
                world.say(Command::RotateCredential(order))
            }
            "suspend" | "resume" => {
                let tenant = world.state.find_tenant(words[1]).unwrap().id.clone();
                let etag = option("etag").unwrap_or("").to_owned();
                world.say(match words[0] {
                    "suspend" => Command::SuspendTenant { tenant, etag },
                    _ => Command::ResumeTenant { tenant, etag },
                })
            }
            "report" => {
                let operation = world.operation(serial(1));
                let times = option("times").map_or(1, |t| t.parse().unwrap());
                let outcome = match words[2] {
                    "done" => Outcome::Done,
                    "already" => Outcome::AlreadyTrue,
                    "retry" => Outcome::Retry,
                    _ => Outcome::Failed,
                };
                for _ in 1..times {
                    world.report(&operation, outcome);
                }
                world.report(&operation, outcome).unwrap()
            }
            "report_again" => {
                let reports = world.log.iter().rev().filter_map(|e| match &e.command {
                    Command::ReportStep(report) => Some(report.clone()),
                    _ => None,
                });
                let report = reports.into_iter().next().unwrap();
                world.say_report(report)
            }
            "report_stale_epoch" => {
                let mut report = world
                    .report_of(&world.operation(serial(1)), Outcome::Done)
                    .unwrap();
                report.epoch = reeve_domain::Epoch(report.epoch.0 - 1);
                world.say_report(report)
            }
            "report_as" => {
                let mut report = world
                    .report_of(&world.operation(serial(1)), Outcome::Done)
                    .unwrap();
                report.agent = name(words[2]);
                world.say_report(report)
            }
            "timeout" => world.timeout(&world.operation(serial(1))).unwrap(),
            "cancel" => world.cancel(&world.operation(serial(1))),
            "retry" => world.say(Command::RetryOperation(Retry {
                operation: world.operation(serial(1)),
                reason: "looked at".into(),
            })),
            "fence" => world.say(Command::FenceGroup {
                group: name(words[1]),
            }),
            "unfence" => world.say(Command::UnfenceGroup {
                group: name(words[1]),
            }),
            "up" => world.up(words[1], true),
            "down" => world.up(words[1], false),
            "mint" => {
                let secret = number("secret", 9);
                world.mint_with(secret, words[1], role(words[2]), words[3], option("region"))
            }
            "redeem" => {
                let expect = match option("door") {
                    Some("agent") => Expect::Agent,
                    Some("node") => Expect::Node,
                    _ => Expect::ServiceOrPerson,
                };
                world.redeem(words[1], number("secret", 9), number("csr", 1), expect)
            }
            "revoke" => world.say(Command::RevokePrincipal {
                principal: words[1].to_owned(),
            }),
            "witness" => {
                let tenant = world.state.find_tenant(words[1]).unwrap().id.clone();
                world.witness(&tenant)
            }
            "show" => return self.show(&words),
            "resolve" => return self.resolve(words[1]),
            "judge" => return self.judge(serial(1)),
            "orders" => return self.orders(words[1]),
            "allowlist" => return self.allowlist(words[1]),
            other => panic!("no such word in a story: {other}"),
        };
        self.say(line, &applied);
    }

    fn say(&mut self, line: &str, applied: &Applied) {
        let outcome = match &applied.outcome {
            Ok(answer) => format!("{answer:?}").split(['(', ' ']).next().unwrap().to_owned(),
            Err(refusal) => format!("refused: {refusal}"),
        };
        let events: Vec<String> = applied.events.iter().map(event).collect();
        let record = applied
            .record
            .as_ref()
            .map_or_else(String::new, |r| format!(" audit={}/{}", r.shard, r.sequence));
        let events = if events.is_empty() {
            String::new()
        } else {
            format!(" [{}]", events.join(", "))
        };
        writeln!(
            self.out,
            "> {line}\n  r{} {outcome}{record}{events}",
            applied.revision
        )
        .unwrap();
    }

    fn show(&mut self, words: &[&str]) {
        let state = &self.world.state;
        match words.get(1) {
            Some(id) if id.starts_with('#') => {
                let serial = id.trim_start_matches('#').parse().unwrap();
                match state.operations.get(&self.world.operation(serial)) {
                    Some(operation) => self.out.push_str(&show_operation(operation)),
                    None => self.out.push_str("  no such operation\n"),
                }
            }
            _ => {
                let tenants: Vec<String> = state
                    .tenants
                    .values()
                    .map(|t| format!("{} {}", t.slug, t.status.word()))
                    .collect();
                writeln!(self.out, "  tenants: {}", tenants.join(", ")).unwrap();
                let claims: Vec<String> = state.claims.keys().map(ToString::to_string).collect();
                writeln!(self.out, "  claims: {}", claims.join(", ")).unwrap();
            }
        }
    }

    fn resolve(&mut self, word: &str) {
        let claim = match Slug::parse(word) {
            Ok(slug) => Claim::Slug(slug),
            Err(_) => Claim::Domain(Domain::parse(word).unwrap()),
        };
        for line in resolve::explain(&self.world.state, &claim) {
            writeln!(self.out, "  {line}").unwrap();
        }
        let answer = resolve::by_claim(&self.world.state, &claim);
        let verdict = match answer {
            Ok(r) if r.serves() => format!("serves at {}", r.endpoint("").unwrap().host),
            Ok(_) => "does not serve".to_owned(),
            Err(refusal) => format!("refused: {refusal}"),
        };
        writeln!(self.out, "  {verdict}").unwrap();
    }

    fn judge(&mut self, serial: u64) {
        let Some(operation) = self.world.state.operations.get(&self.world.operation(serial)) else {
            return;
        };
        let said = match judge(
            &self.world.state,
            operation,
            &self.sightings,
            Stamp(self.world.now),
        ) {
            None => "nothing to do".to_owned(),
            Some(Verdict::AtWork { agent }) => format!("{agent} is at work"),
            Some(Verdict::Wait(reason)) => format!("waits for {reason}"),
            Some(Verdict::Timeout(t)) => format!("time is up for step {} attempt {}", t.step, t.attempt),
        };
        writeln!(self.out, "  {said}").unwrap();
    }

    fn allowlist(&mut self, slug: &str) {
        let tenant = self.world.state.find_tenant(slug).unwrap();
        writeln!(self.out, "  {slug} lets in: {}", join(&tenant.allowlist)).unwrap();
    }

    fn orders(&mut self, agent: &str) {
        for order in orders_for(&self.world.state, &name(agent)) {
            writeln!(
                self.out,
                "  order {} {:?} attempt {} epoch {}{}",
                order.goal.word(),
                order.direction,
                order.attempt,
                order.epoch,
                order
                    .wanted
                    .map(|wanted| match wanted {
                        Wanted::Allowlist(list) => format!(" wants {}", join(&list)),
                        Wanted::Credential(next) =>
                            format!(" wants v{} slot {}", next.version, next.slot.letter()),
                    })
                    .unwrap_or_default()
            )
            .unwrap();
        }
    }
}

fn join(list: &[Cidr]) -> String {
    let words: Vec<String> = list.iter().map(ToString::to_string).collect();
    words.join(" ")
}

fn role(word: &str) -> Role {
    Role::ALL.into_iter().find(|r| r.word() == word).unwrap()
}

fn event(event: &Event) -> String {
    match event {
        Event::Resolves(r) => format!(
            "{} {}",
            r.slug,
            if r.serves() { "serves" } else { r.status.word() }
        ),
        Event::Gone(id) => format!("{id} gone"),
        Event::Operation(id) => format!("op #{}", u64::from_str_radix(&id.as_str()[3..], 16).unwrap()),
        Event::Group(group) => format!("group {group}"),
        Event::Access(id) => format!("access {id}"),
        Event::Node => "nodes".to_owned(),
    }
}

fn show_operation(operation: &Operation) -> String {
    let mut out = format!("  {:?} {:?}", operation.kind, operation.status);
    if !operation.reason.is_empty() {
        write!(out, " because {}: {}", operation.reason, operation.detail).unwrap();
    }
    out.push('\n');
    for (i, step) in operation.steps.iter().enumerate() {
        let mark = if i == operation.cursor { '>' } else { ' ' };
        writeln!(
            out,
            "  {mark} {:<16} {:?} attempt {}",
            step.goal.word(),
            step.state,
            step.attempt
        )
        .unwrap();
    }
    out
}
