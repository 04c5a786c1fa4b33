//! The fleet that is asked, and who asks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use prost_reflect::DynamicMessage;
use reeve_client::v1::operation::State;
use reeve_client::v1::{
    CreateRegionRequest, GetTenantRequest, ReadLevel, Region, Role, SessionRequest, SuspendTenantRequest,
    read_level, session_request, session_response,
};
use reeve_client::{Api, JoinToken, KeyRequest, join, request_id};
use reeve_local::{Fleet, examples_dir, tenants};
use reeve_proto::identity::{Credentials, Expect, Tuning, channel, connector, pinned};
use tokio_stream::StreamExt;
use tonic::transport::Channel;

use crate::fields;
use crate::table::agents;

const PATIENCE: Duration = Duration::from_secs(120);
/// The table knocks more often than any joiner, and begins more sessions than any agent.
const OFTEN: &str =
    "[limits]\nsessions_per_agent = 10000\nrates.join = { per_second = 10000, burst = 10000 }\n";
pub const CLUSTER: &str = "hospital";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Admin,
    /// A service that sees cho-ray alone.
    Service,
    /// An agent beside the one that is at work.
    Agent,
    /// The registry's first node.
    Node,
    /// Somebody without a certificate.
    Nobody,
}

/// Three nodes, a region with a PostgreSQL and one without, and tenants.
///
/// | Tenant | is |
/// |---|---|
/// | cho-ray | active, with a domain |
/// | hue | suspended |
/// | bach-mai | active |
pub struct World {
    pub fleet: Fleet,
    pub service: Credentials,
    pub agent: Credentials,
    pub node: Credentials,
    /// A token for an auditor that nobody has used.
    pub token: JoinToken,
    /// A good request for a certificate.
    pub csr: String,
    /// The ids of cho-ray, and of the operation that brought it in.
    pub tenant: String,
    pub operation: String,
    /// The node that is asked. It does not lead: what is proposed goes the longest way.
    pub asked: String,
    folders: tempfile::TempDir,
}

impl World {
    /// The request that made a region.
    pub const USED_ID: &str = "made-eu";

    pub async fn start() -> Result<World> {
        let folders = tempfile::tempdir()?;
        let mut fleet = Fleet::builder()
            .cluster(CLUSTER)
            .regions(["vn"])
            .node_settings(toml::from_str(OFTEN)?)
            .schema("ehr", examples_dir()?.join("ehr"))
            .direct();
        for (channel, spoil) in spoilt() {
            fleet = fleet.schema(channel, folder(folders.path(), channel, spoil)?);
        }
        let fleet = fleet.start().await?;
        let region = CreateRegionRequest {
            request_id: World::USED_ID.to_owned(),
            region: Some(Region {
                name: "eu".to_owned(),
                ..Default::default()
            }),
        };
        fleet.api().groups().create_region(region).await?;
        let (tenant, operation) = bring_in(&fleet).await?;
        let service = fleet.enroll(Role::Service, "ehr", &["cho-ray"]).await?;
        let agent = agent(&fleet).await?;
        let of_node = |name: &str| fleet.dir().join("n1").join(name);
        let node = Credentials::from_files(
            &of_node("node.crt"),
            &of_node("node.key.pem"),
            &of_node("root.crt"),
        )?;
        let leader = fleet.leader().await?.id();
        let asked = fleet.nodes().iter().find(|node| node.id() != leader);
        let asked = asked.context("one that does not lead")?;
        // From here on this node knows all of it.
        let found = get(fleet.api(), None).await?;
        let here = read_level::Level::AtLeastRevision(found);
        get(&asked.api(), Some(here)).await?;
        Ok(World {
            asked: asked.address().to_owned(),
            csr: KeyRequest::generate()?.csr_pem,
            token: fleet.token(Role::Auditor, "vera", "", &[]).await?,
            service,
            agent,
            node,
            tenant,
            operation,
            folders,
            fleet,
        })
    }

    /// A connection to the node that is asked.
    pub fn channel(&self, who: Who) -> Result<Channel> {
        let credentials = match who {
            Who::Admin => self.fleet.admin(),
            Who::Service => &self.service,
            Who::Agent => &self.agent,
            Who::Node => &self.node,
            Who::Nobody => {
                let dial = pinned(self.token.pin())?;
                return Ok(channel(&self.asked, dial, &Tuning::default())?);
            }
        };
        let dial = connector(credentials, Expect::AnyNode)?;
        Ok(channel(&self.asked, dial, &Tuning::default())?)
    }

    /// An admin's calls to the node that is asked.
    pub fn api(&self) -> Result<Api> {
        let asked = std::slice::from_ref(&self.asked);
        Ok(Api::connect(asked, self.fleet.admin())?)
    }

    /// A folder for what a test writes.
    pub fn folder(&self) -> &Path {
        self.folders.path()
    }

    /// All that the fleet's programs wrote to their logs.
    pub fn logs(&self) -> Result<Vec<(PathBuf, String)>> {
        let nodes = self.fleet.nodes().iter().map(|node| node.log().to_owned());
        let agents = self.fleet.agents().iter().map(|agent| agent.log().to_owned());
        let logs = nodes.chain(agents).map(|path| {
            let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
            Ok((path, text))
        });
        logs.collect()
    }
}

async fn get(api: &Api, level: Option<read_level::Level>) -> Result<u64> {
    let asked = GetTenantRequest {
        tenant: "cho-ray".to_owned(),
        read: level.map(|level| ReadLevel { level: Some(level) }),
    };
    let found = api.tenants().get_tenant(asked).await?.into_inner();
    Ok(found.freshness.context("no freshness")?.revision)
}

async fn bring_in(fleet: &Fleet) -> Result<(String, String)> {
    let mut opened = Vec::new();
    for slug in ["cho-ray", "hue", "bach-mai"] {
        let order = tenants::order(slug, &format!("{slug}.example"), "vn", "ehr");
        opened.push(tenants::create(fleet.api(), order).await?);
    }
    for operation in &opened {
        let ended = tenants::ended(fleet.api(), &operation.id, PATIENCE).await?;
        ensure!(ended.state() == State::Done, "it was not onboarded: {ended:?}");
    }
    let suspend = SuspendTenantRequest {
        request_id: request_id(),
        tenant: "hue".to_owned(),
        ..Default::default()
    };
    fleet.api().tenants().suspend_tenant(suspend).await?;
    let first = opened.swap_remove(0);
    Ok((first.tenant_id, first.id))
}

/// One that has joined, and has no PostgreSQL: it said that it does not answer.
async fn agent(fleet: &Fleet) -> Result<Credentials> {
    let token = fleet.token(Role::Agent, "vn-2", "vn", &[]).await?;
    let (own, postgres) = (KeyRequest::generate()?, KeyRequest::generate()?);
    let hosts = ["127.0.0.1".to_owned()];
    let joined = join::join_agent(&fleet.addresses(), &token, &own, &postgres, &hosts).await?;
    let credentials = joined.identity.credentials;
    introduce(fleet, &credentials).await?;
    Ok(credentials)
}

/// The agent says what the registry is to know of it.
async fn introduce(fleet: &Fleet, credentials: &Credentials) -> Result<()> {
    let said = serde_json::json!({"hello": {"facts": agents::known()}});
    let kind = fields::pool()?.get_message_by_name("reeve.v1.SessionRequest");
    let hello = DynamicMessage::deserialize(kind.context("no session")?, said)?;
    let hello: SessionRequest = hello.transcode_to()?;
    let beat = SessionRequest {
        message: Some(session_request::Message::Beat(Default::default())),
    };
    let own = Api::connect(&fleet.addresses(), credentials)?;
    let said = tokio_stream::iter([hello, beat]).chain(tokio_stream::pending());
    let mut heard = own.agents().session(said).await?.into_inner();
    // Once the beat is answered, what stood before it is written down.
    while let Some(answer) = heard.message().await? {
        if matches!(answer.message, Some(session_response::Message::BeatAck(_))) {
            return Ok(());
        }
    }
    anyhow::bail!("the session ended")
}

/// What is done to a schema's `versions.toml`.
type Spoil = fn(&str) -> String;

/// Channels whose folders are not as they should be.
pub fn spoilt() -> [(&'static str, Spoil); 4] {
    [
        ("missing", |list| {
            list.replace("number = 2\nname = \"places", "number = 7\nname = \"places")
        }),
        ("twice", |list| {
            list.replace("number = 2\nname = \"places", "number = 1\nname = \"places")
        }),
        ("changed", |list| list.replace("082f755b", "182f755b")),
        ("outside", |list| list.replace("schema/V001", "../V001")),
    ]
}

fn folder(below: &Path, channel: &str, spoil: Spoil) -> Result<PathBuf> {
    let (from, to) = (examples_dir()?.join("ehr"), below.join(channel));
    for part in ["schema", "seed"] {
        std::fs::create_dir_all(to.join(part))?;
        for file in std::fs::read_dir(from.join(part))? {
            let file = file?;
            std::fs::copy(file.path(), to.join(part).join(file.file_name()))?;
        }
    }
    let good = std::fs::read_to_string(from.join("versions.toml"))?;
    let good = good.replace("channel = \"ehr\"", &format!("channel = \"{channel}\""));
    let spoilt = spoil(&good);
    ensure!(spoilt != good, "{channel} is as it should be");
    std::fs::write(to.join("versions.toml"), spoilt)?;
    Ok(to)
}
