//! `reeve cluster init`: a cluster's authorities, first node and first admin, as files.

use std::path::PathBuf;

use clap::Args;
use reeve_local::init::Region;
use reeve_local::{Dial, Doors, InitOptions, cluster_init};
use serde::Serialize;

use crate::context;
use crate::fail::Failure;
use crate::session::Session;
use crate::show::{Page, Show, pairs};

/// Make a cluster: certificate authorities, first node, first admin; nothing is started
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve cluster init --dir reeve-hospital --name hospital --regions vn,eu --admin ann \\\n    --api n1.example:7400 --peer n1.example:7401 --http 127.0.0.1:7403"
)]
pub struct Init {
    /// Folder to write; must not hold a cluster yet
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// The cluster's name: the trust domain of every identity in it
    #[arg(long)]
    name: String,
    /// Jurisdictions to begin with
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAMES")]
    regions: Vec<String>,
    /// The first admin's name
    #[arg(long, default_value = "admin", value_name = "NAME")]
    admin: String,
    /// Where clients find the first node
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "HOST:PORT")]
    api: String,
    /// Where other nodes find it
    #[arg(long, default_value = "127.0.0.1:7401", value_name = "HOST:PORT")]
    peer: String,
    /// Where it answers /livez, /readyz and /metrics
    #[arg(long, default_value = "127.0.0.1:7403", value_name = "HOST:PORT")]
    http: String,
    /// Address to listen at for clients and nodes; the advertised host unless told
    #[arg(long, value_name = "HOST")]
    bind: Option<String>,
    /// Leave the context file alone
    #[arg(long)]
    no_context: bool,
}

#[derive(Serialize)]
struct Made {
    cluster: String,
    cluster_id: String,
    config: PathBuf,
    root_key: PathBuf,
    provider_key: PathBuf,
    admin_cert: PathBuf,
}

impl Show for Made {
    fn page(&self) -> Page {
        let shown = |path: &PathBuf| path.display().to_string();
        pairs([
            ("cluster", format!("{} ({})", self.cluster, self.cluster_id)),
            ("first node", shown(&self.config)),
            ("admin", shown(&self.admin_cert)),
            (
                "root CA key",
                format!("{}  take it offline", shown(&self.root_key)),
            ),
            (
                "provider key",
                format!("{}  carry it to each node", shown(&self.provider_key)),
            ),
        ])
    }
}

pub fn run(args: Init, session: &Session) -> Result<(), Failure> {
    let dir = std::path::absolute(&args.dir).map_err(anyhow::Error::from)?;
    let options = InitOptions {
        cluster: args.name.clone(),
        dir,
        admin: args.admin,
        regions: args.regions.iter().map(|name| region(name)).collect(),
        listen: Doors {
            api: listen(args.bind.as_deref(), &args.api),
            peer: listen(args.bind.as_deref(), &args.peer),
            http: args.http,
        },
        advertise: Dial {
            api: args.api.clone(),
            peer: args.peer,
        },
        peers: Vec::new(),
        settings: Default::default(),
    };
    let founded = cluster_init(&options)?;
    if !args.no_context {
        let admin = &founded.admin;
        context::write(&args.name, &[args.api], &admin.ca, &admin.cert, &admin.key)?;
        session.say(&format!("{} is the current context", args.name));
    }
    session.say(&format!(
        "start it with: reeve-registry --config {}",
        founded.config.display()
    ));
    session.print(&Made {
        cluster: args.name,
        cluster_id: founded.cluster_id,
        config: founded.config,
        root_key: founded.root_key,
        provider_key: founded.provider_key,
        admin_cert: founded.admin.cert,
    })
}

fn region(name: &str) -> Region {
    Region {
        name: name.to_owned(),
        display_name: name.to_owned(),
    }
}

/// A socket is bound to an address: a name that is not one means every address of this machine.
pub(super) fn listen(bind: Option<&str>, advertised: &str) -> String {
    let (host, port) = advertised.rsplit_once(':').unwrap_or((advertised, ""));
    match bind {
        Some(bind) => format!("{bind}:{port}"),
        None if advertised.parse::<std::net::SocketAddr>().is_ok() => advertised.to_owned(),
        None if host == "localhost" => format!("127.0.0.1:{port}"),
        None => format!("0.0.0.0:{port}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_advertised_and_an_address_is_bound() {
        assert_eq!(listen(None, "10.0.0.7:7400"), "10.0.0.7:7400");
        assert_eq!(listen(None, "localhost:7400"), "127.0.0.1:7400");
        assert_eq!(listen(None, "n1.example:7400"), "0.0.0.0:7400");
        assert_eq!(listen(Some("10.0.0.7"), "n1.example:7400"), "10.0.0.7:7400");
    }

    #[test]
    fn a_cluster_is_made_and_a_second_one_beside_it_refused() {
        let dir = tempfile::tempdir().unwrap();
        let init = || Init {
            dir: dir.path().join("hospital"),
            name: "hospital".into(),
            regions: vec!["vn".into()],
            admin: "ann".into(),
            api: "n1.example:7400".into(),
            peer: "n1.example:7401".into(),
            http: "127.0.0.1:7403".into(),
            bind: None,
            no_context: true,
        };
        let session = Session::new(Default::default(), Default::default());
        run(init(), &session).unwrap();
        assert!(dir.path().join("hospital/admin/admin.crt").exists());
        let again = run(init(), &session).unwrap_err();
        assert!(again.to_string().contains("holds a cluster already"), "{again}");
    }
}
