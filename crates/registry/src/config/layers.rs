//! Four layers of settings, the later ones stronger.

use std::path::Path;

use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Backup, Config, Error};

/// What names of environment variables begin with; `__` stands between levels.
pub const ENV_PREFIX: &str = "REEVE_REGISTRY_";
pub(super) const FROM_ENV: &str = "environment";
pub(super) const FROM_FLAGS: &str = "flag --set";

/// The settings, and where each came from.
#[derive(Debug)]
pub struct Layered {
    pub config: Config,
    pub(super) figment: Figment,
}

/// Reads and checks all layers.
pub fn load(
    file: &Path,
    env: impl IntoIterator<Item = (String, String)>,
    flags: &[String],
) -> Result<Layered, Error> {
    if !file.is_file() {
        let why = format!("{} is not a file", file.display());
        return Err(Error::Field {
            field: "--config",
            why,
        });
    }
    let figment = Figment::from(Serialized::defaults(Config::default()))
        .merge(Toml::file_exact(file))
        .merge(Pairs::of_env(env))
        .merge(Pairs::of_flags(flags)?);
    let config: Config = figment.extract().map_err(|error| Error::Read(Box::new(error)))?;
    config.validate()?;
    Ok(Layered { config, figment })
}

/// Reads how backups are reached, and nothing else: a node's own file will do, and one with no more than `[backup]` in it.
pub fn load_backup(
    file: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
) -> Result<Backup, Error> {
    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Part {
        #[serde(default)]
        backup: Backup,
    }
    let mut figment = Figment::from(Serialized::defaults(Part::default()));
    if let Some(file) = file {
        if !file.is_file() {
            let why = format!("{} is not a file", file.display());
            return Err(Error::Field {
                field: "--settings",
                why,
            });
        }
        figment = figment.merge(Toml::file_exact(file));
    }
    let part: Part = figment
        .merge(Pairs::of_env(env))
        .extract()
        .map_err(|error| Error::Read(Box::new(error)))?;
    Ok(part.backup)
}

/// Settings given one by one, as text.
struct Pairs {
    name: &'static str,
    dict: Dict,
}

impl Pairs {
    fn of_env(env: impl IntoIterator<Item = (String, String)>) -> Pairs {
        let mut dict = Dict::new();
        for (name, text) in env {
            // The variable that says where the file is, is no setting in it.
            if let Some(key) = name.strip_prefix(ENV_PREFIX).filter(|key| *key != "CONFIG") {
                let key = key.to_ascii_lowercase();
                put(&mut dict, &key.split("__").collect::<Vec<_>>(), &text);
            }
        }
        Pairs { name: FROM_ENV, dict }
    }

    fn of_flags(flags: &[String]) -> Result<Pairs, Error> {
        let mut dict = Dict::new();
        for flag in flags {
            let Some((key, text)) = flag.split_once('=') else {
                let why = format!("{flag:?} is not key=value");
                return Err(Error::Field { field: "--set", why });
            };
            put(&mut dict, &key.trim().split('.').collect::<Vec<_>>(), text.trim());
        }
        Ok(Pairs {
            name: FROM_FLAGS,
            dict,
        })
    }
}

fn put(dict: &mut Dict, path: &[&str], text: &str) {
    match path {
        [] => {}
        [last] => {
            dict.insert((*last).to_owned(), value(text));
        }
        [first, rest @ ..] => {
            let mut inner = match dict.remove(*first) {
                Some(Value::Dict(_, inner)) => inner,
                _ => Dict::new(),
            };
            put(&mut inner, rest, text);
            dict.insert((*first).to_owned(), Value::from(inner));
        }
    }
}

/// A number, a list and a quoted text are what they look like; anything else is text.
fn value(text: &str) -> Value {
    // Figment's own reader cannot fail: what it does not know is text to it.
    text.parse().unwrap_or_else(|_| Value::from(text))
}

impl Provider for Pairs {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok([(Profile::Default, self.dict.clone())].into())
    }
}
