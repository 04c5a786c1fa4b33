//! The agent's settings: defaults ◄ file (TOML) ◄ REEVE_AGENT_… (`__` between levels) ◄ --set key=value.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Env, Format, Serialized, Toml};
use figment::{Figment, Source};
use reeve_domain::isolation::Rule;
use reeve_domain::words::Cidr;
use serde::{Deserialize, Serialize};

use crate::mend::MENDABLE;
use crate::place::{self, Place, Reach};
use crate::senses::health;
use crate::senses::isolation::{Allowed, Plan};

/// All settings, shaped like the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The agent's name; its token decides it, and this must be the same.
    pub name: String,
    pub data_dir: PathBuf,
    pub registry: Registry,
    pub postgres: Postgres,
    /// Schema channel → folder with versions.toml.
    pub schemas: BTreeMap<String, PathBuf>,
    pub isolation: Isolation,
    pub health: Health,
    pub http: Http,
    pub logs: Logs,
}

/// Where the registry is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// API doors of the nodes, as host:port.
    pub nodes: Vec<String>,
}

/// The instance beside this agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Postgres {
    pub mode: Mode,
    /// Where initdb and postgres are; found in the usual places when unset.
    pub bin_dir: Option<PathBuf>,
    pub data_dir: PathBuf,
    pub socket_dir: PathBuf,
    pub listen: String,
    pub port: u16,
    /// The OS user it runs as when the agent runs as root.
    pub run_as: Option<String>,
    /// The network under which services reach it at the advertised address.
    pub network: String,
    pub advertise_host: String,
    /// 0: the same as `port`.
    pub advertise_port: u16,
    /// Where services of further networks reach it, by the network's name.
    pub networks: BTreeMap<String, Reach>,
    /// Who may connect to a tenant that lists nobody; this machine alone unless told otherwise.
    pub default_cidrs: Vec<Cidr>,
}

/// Who runs the instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// This agent does.
    #[default]
    Managed,
}

/// The isolation audit of the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Isolation {
    /// Seconds from one round to the next.
    pub every_s: u64,
    /// Databases that a round looks into; the others come in the next ones.
    pub databases_per_round: usize,
    /// Tenants that a round probes; the others come in the next ones.
    pub probes_per_round: usize,
    /// Roles of the house that may be there; they are not looked at.
    pub roles: Vec<String>,
    /// Databases of the house that may be there.
    pub databases: Vec<String>,
    /// Extensions that tenants may have.
    pub extensions: Vec<String>,
    /// Rules whose findings are mended at once: F1, F6 to F11.
    pub repair: Vec<String>,
    /// Seconds that what an offboarded tenant left is told of as a finding (F5) before it is taken away; 0: it stays.
    pub reap_after_s: u64,
}

/// Looking after each tenant's database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// Seconds from one round to the next.
    pub every_s: u64,
    /// Tenants as whom a round tries to come in; the others come in the next ones.
    pub tries_per_round: usize,
    /// Databases that a round measures from inside, likewise.
    pub databases_per_round: usize,
    /// Whether /metrics has series of each tenant.
    pub tenant_metrics: bool,
}

/// The door for probes and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    pub listen: SocketAddr,
}

/// What is logged, and how it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Logs {
    pub format: LogFormat,
    pub filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl Default for Health {
    fn default() -> Health {
        Health {
            every_s: 10,
            tries_per_round: 64,
            databases_per_round: 32,
            tenant_metrics: true,
        }
    }
}

impl Default for Isolation {
    fn default() -> Isolation {
        let usual = [
            "plpgsql",
            "btree_gin",
            "btree_gist",
            "citext",
            "fuzzystrmatch",
            "hstore",
            "intarray",
            "ltree",
            "pg_trgm",
            "pgcrypto",
            "tablefunc",
            "unaccent",
            "uuid-ossp",
        ];
        Isolation {
            every_s: 60,
            databases_per_round: 64,
            probes_per_round: 1,
            roles: Vec::new(),
            databases: Vec::new(),
            extensions: usual.map(str::to_owned).into(),
            repair: Vec::new(),
            // Nothing is dropped unless somebody asks for it: what came back may have been brought back.
            reap_after_s: 0,
        }
    }
}

impl Default for Http {
    fn default() -> Http {
        Http {
            listen: SocketAddr::from(([127, 0, 0, 1], 7413)),
        }
    }
}

impl Default for Logs {
    fn default() -> Logs {
        Logs {
            format: LogFormat::Text,
            filter: "info".to_owned(),
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config {
            name: String::new(),
            data_dir: PathBuf::new(),
            registry: Registry::default(),
            postgres: Postgres::default(),
            schemas: BTreeMap::new(),
            isolation: Isolation::default(),
            health: Health::default(),
            http: Http::default(),
            logs: Logs::default(),
        }
    }
}

impl Default for Postgres {
    fn default() -> Postgres {
        Postgres {
            mode: Mode::Managed,
            bin_dir: None,
            data_dir: PathBuf::new(),
            socket_dir: PathBuf::new(),
            listen: "127.0.0.1".to_owned(),
            port: 5432,
            run_as: None,
            network: "default".to_owned(),
            advertise_host: "127.0.0.1".to_owned(),
            advertise_port: 0,
            networks: BTreeMap::new(),
            default_cidrs: ["127.0.0.1/32", "::1/128"]
                .iter()
                .filter_map(|c| Cidr::parse(c).ok())
                .collect(),
        }
    }
}

/// Why the settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("configuration cannot be read")]
    Read(#[source] Box<figment::Error>),
    #[error("{field}: {why}")]
    Field { field: &'static str, why: String },
    #[error(transparent)]
    Place(#[from] place::Error),
}

/// Settings, and where each came from.
pub struct Layered {
    pub config: Config,
    figment: Figment,
}

const ENV_PREFIX: &str = "REEVE_AGENT_";

/// Reads all layers and checks what they make.
pub fn load(file: &Path, flags: &[String]) -> Result<Layered, Error> {
    if !file.is_file() {
        return Err(Error::Field {
            field: "--config",
            why: format!("{} is not a file", file.display()),
        });
    }
    let mut figment = Figment::from(Serialized::defaults(Config::default()))
        .merge(Toml::file_exact(file))
        // The variable that says where the file is, is no setting in it.
        .merge(Env::prefixed(ENV_PREFIX).ignore(&["config"]).split("__"));
    for flag in flags {
        let Some((key, value)) = flag.split_once('=') else {
            return Err(Error::Field {
                field: "--set",
                why: format!("{flag:?} is not key=value"),
            });
        };
        let value: figment::value::Value = value
            .parse()
            .unwrap_or_else(|_| figment::value::Value::from(value));
        figment = figment.merge(Serialized::default(key, value));
    }
    let config: Config = figment.extract().map_err(|error| Error::Read(Box::new(error)))?;
    config.validate()?;
    Ok(Layered { config, figment })
}

impl Config {
    /// Holds every field to what it must be; nothing is looked up on disk.
    fn validate(&self) -> Result<(), Error> {
        let wrong = |field, why: &str| {
            Err(Error::Field {
                field,
                why: why.to_owned(),
            })
        };
        if reeve_domain::words::Name::parse(&self.name).is_err() {
            return wrong("name", "must be the agent's name: 1 to 63 of a-z, 0-9 and '-'");
        }
        if self.registry.nodes.is_empty() {
            return wrong("registry.nodes", "must name at least one node as host:port");
        }
        for (field, path) in [
            ("data_dir", &self.data_dir),
            ("postgres.data_dir", &self.postgres.data_dir),
            ("postgres.socket_dir", &self.postgres.socket_dir),
        ] {
            if !path.is_absolute() {
                return Err(Error::Field {
                    field,
                    why: "must be an absolute path".to_owned(),
                });
            }
        }
        // PostgreSQL puts ".s.PGSQL.<port>" behind it, and a Unix socket's path has 107 bytes at the most.
        if self.postgres.socket_dir.as_os_str().len() > 85 {
            return wrong("postgres.socket_dir", "must have at most 85 bytes");
        }
        if self.postgres.port == 0 {
            return wrong("postgres.port", "must be 1 to 65535");
        }
        place::read(&self.postgres)?;
        if !(1..=60).contains(&self.isolation.every_s) {
            return wrong(
                "isolation.every_s",
                "must be 1 to 60: what is found must be found within a minute",
            );
        }
        if self.isolation.databases_per_round == 0 {
            return wrong("isolation.databases_per_round", "must be at least 1");
        }
        if !(1..=60).contains(&self.health.every_s) {
            return wrong("health.every_s", "must be 1 to 60");
        }
        for (field, many) in [
            ("health.tries_per_round", self.health.tries_per_round),
            ("health.databases_per_round", self.health.databases_per_round),
        ] {
            if !(1..=1_000).contains(&many) {
                return wrong(field, "must be 1 to 1000");
            }
        }
        self.rules()?;
        Ok(())
    }

    /// Rules whose findings are mended at once.
    fn rules(&self) -> Result<BTreeSet<Rule>, Error> {
        let read = self.isolation.repair.iter().map(|code| {
            let rule = Rule::parse(code).filter(|rule| MENDABLE.contains(rule));
            rule.ok_or_else(|| Error::Field {
                field: "isolation.repair",
                why: format!(
                    "{code:?} is no rule that can be mended without a person: {}",
                    MENDABLE.map(Rule::code).join(", ")
                ),
            })
        });
        read.collect()
    }

    /// How the instance is audited.
    pub fn audit_plan(&self) -> Plan {
        let isolation = self.isolation.clone();
        Plan {
            every: Duration::from_secs(isolation.every_s),
            databases: isolation.databases_per_round,
            probes: isolation.probes_per_round,
            reap_after: (isolation.reap_after_s > 0).then(|| Duration::from_secs(isolation.reap_after_s)),
            allowed: self.allowed(),
            // Read once already, when the settings were.
            repair: self.rules().unwrap_or_default(),
        }
    }

    /// How tenants' databases are looked after.
    pub fn health_plan(&self) -> health::Plan {
        health::Plan {
            every: Duration::from_secs(self.health.every_s),
            tries: self.health.tries_per_round,
            databases: self.health.databases_per_round,
        }
    }

    /// What the instance may hold besides what Reeve made.
    pub fn allowed(&self) -> Allowed {
        let isolation = self.isolation.clone();
        Allowed {
            roles: isolation.roles,
            databases: isolation.databases,
            extensions: isolation.extensions,
        }
    }

    /// Who may connect to a tenant that lists nobody.
    pub fn default_cidrs(&self) -> Vec<Cidr> {
        self.postgres.default_cidrs.clone()
    }

    /// Where services reach the instance; the default network comes first.
    pub fn places(&self) -> Vec<Place> {
        // Read once already, when the settings were.
        place::read(&self.postgres).unwrap_or_default()
    }
}

impl Layered {
    /// The settings as lines; with provenance, each with where it came from.
    pub fn print(&self, provenance: bool) -> String {
        let mut lines = Vec::new();
        let value = figment::value::Value::serialize(&self.config);
        if let Ok(value) = value {
            flatten("", &value, &mut lines);
        }
        let width = lines
            .iter()
            .map(|(key, value)| key.len() + value.len() + 3)
            .max()
            .unwrap_or(0);
        let shown = lines.into_iter().map(|(key, value)| {
            let line = format!("{key} = {value}");
            match provenance {
                true => format!("{line:<width$}  # {}\n", self.source(&key)),
                false => format!("{line}\n"),
            }
        });
        shown.collect()
    }

    fn source(&self, key: &str) -> String {
        let Some(metadata) = self.figment.find_metadata(key) else {
            return "default".to_owned();
        };
        match &metadata.source {
            Some(Source::File(path)) => path.display().to_string(),
            _ if metadata.name.contains("environment") => {
                format!("{ENV_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
            }
            Some(Source::Code(_)) if metadata.name.contains("Config") => "default".to_owned(),
            _ => "flag --set".to_owned(),
        }
    }
}

fn flatten(prefix: &str, value: &figment::value::Value, lines: &mut Vec<(String, String)>) {
    match value.as_dict() {
        Some(dict) if !dict.is_empty() => {
            for (key, value) in dict {
                let key = if prefix.is_empty() {
                    key.clone()
                } else {
                    format!("{prefix}.{key}")
                };
                flatten(&key, value, lines);
            }
        }
        _ => {
            let text = serde_json::to_string(value).unwrap_or_default();
            lines.push((prefix.to_owned(), text));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        name = "vn-1"
        data_dir = "/var/lib/reeve"
        [registry]
        nodes = ["127.0.0.1:7400"]
        [postgres]
        data_dir = "/var/lib/reeve/pg"
        socket_dir = "/run/reeve"
        [schemas]
        ehr = "/etc/reeve/ehr"
    "#;

    fn layered(text: &str, flags: &[&str]) -> Result<Layered, Error> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("agent.toml");
        std::fs::write(&file, text).unwrap();
        load(&file, &flags.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn later_layers_win_and_say_where_a_value_is_from() {
        let read = layered(FILE, &["postgres.port=6000"]).unwrap();
        assert_eq!(read.config.postgres.port, 6000);
        assert_eq!(read.config.places()[0].port, 6000);
        let print = read.print(true);
        let line = |key: &str| print.lines().find(|l| l.starts_with(key)).unwrap().to_owned();
        assert!(line("postgres.port").ends_with("# flag --set"), "{print}");
        assert!(line("name").ends_with("agent.toml"), "{print}");
        assert!(line("postgres.listen").ends_with("# default"), "{print}");
    }

    #[test]
    fn further_networks_are_tables_of_their_own_and_a_wrong_one_is_named() {
        let vpn = "[postgres.networks.onprem-vpn]\nhost = \"db-vn-1.vpn.example\"\nport = 15432\n";
        let read = layered(&format!("{FILE}\n{vpn}"), &[]).unwrap();
        let told: Vec<String> = read.config.places().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["default=127.0.0.1:5432", "onprem-vpn=db-vn-1.vpn.example:15432"]
        );
        let why = |text: &str| {
            layered(&format!("{FILE}\n{text}"), &[])
                .err()
                .unwrap()
                .to_string()
        };
        assert!(why(&vpn.replace("15432", "0")).starts_with("postgres.networks.onprem-vpn.port:"));
        for unread in ["70000", "\"x\""] {
            assert!(matches!(
                layered(&format!("{FILE}\n{}", vpn.replace("15432", unread)), &[]),
                Err(Error::Read(_))
            ));
        }
        assert!(matches!(
            layered(&format!("{FILE}\n{vpn}colour = 1"), &[]),
            Err(Error::Read(_))
        ));
    }

    #[test]
    fn the_field_that_is_wrong_is_named() {
        let why = |text: &str| layered(text, &[]).err().unwrap();
        assert!(
            why(&FILE.replace("vn-1", "VN 1"))
                .to_string()
                .starts_with("name:")
        );
        assert!(
            why(&FILE.replace("\"/run/reeve\"", "\"run\""))
                .to_string()
                .starts_with("postgres.socket_dir")
        );
        assert!(
            why(&FILE.replace("[\"127.0.0.1:7400\"]", "[]"))
                .to_string()
                .starts_with("registry.nodes")
        );
        let repair = |rules: &str| format!("{FILE}\n[isolation]\nrepair = {rules}");
        assert!(
            why(&repair("[\"F3\"]"))
                .to_string()
                .starts_with("isolation.repair")
        );
        assert_eq!(
            layered(&repair("[\"F1\", \"F11\"]"), &[])
                .unwrap()
                .config
                .audit_plan()
                .repair
                .len(),
            2
        );
        let seldom = format!("{FILE}\n[isolation]\nevery_s = 61");
        assert!(why(&seldom).to_string().starts_with("isolation.every_s"));
        for (setting, field) in [
            ("every_s = 0", "health.every_s"),
            ("tries_per_round = 0", "health.tries_per_round"),
            ("databases_per_round = 1001", "health.databases_per_round"),
        ] {
            let wrong = format!("{FILE}\n[health]\n{setting}");
            assert!(why(&wrong).to_string().starts_with(field), "{field}");
        }
        assert!(matches!(why(&format!("colour = 1\n{FILE}")), Error::Read(_)));
        assert!(layered(FILE, &["nonsense"]).is_err());
    }
}
