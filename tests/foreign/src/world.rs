//! The fleet under test, with a tenant in every state that a service may meet.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use reeve_client::v1::operation::State;
use reeve_client::v1::{
    Claim, CreateTenantRequest, DeleteTenantRequest, FenceGroupRequest, GetTenantRequest, ReadLevel, Role,
    SuspendTenantRequest, Tenant, UpdateTenantRequest, claim, not_ready, read_level,
};
use reeve_client::{Api, IdentityFiles, KeyRequest, join, request_id};
use reeve_local::{Fleet, tenants, until};
use serde_json::{Map, Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
const CLAIMS_MAX: usize = 1_000;

/// Three nodes, two regions, their tenants, and who asks about them.
///
/// | Tenant | is |
/// |---|---|
/// | cho-ray | active, and found by a claim of each kind |
/// | hue | suspended |
/// | da-nang | active, and lets its services not in |
/// | charite | active in a group that is fenced |
/// | bach-mai | active, and not the service's |
/// | gone | deleted |
pub struct World {
    pub fleet: Fleet,
    identities: tempfile::TempDir,
    known: Map<String, Value>,
}

/// Identities by name, and those of the tenants that a service may see.
const SERVICE: (&str, Role, &[&str]) = ("ehr", Role::Service, &["cho-ray", "hue", "da-nang", "charite"]);
const AUDITOR: (&str, Role, &[&str]) = ("auditor", Role::Auditor, &[]);

impl World {
    pub async fn start() -> Result<World> {
        let looks_often: toml::Table = toml::from_str("[health]\nevery_s = 1\n")?;
        let fleet = Fleet::builder()
            .cluster("hospital")
            .regions(["vn", "eu"])
            .schema("ehr", reeve_local::examples_dir()?.join("ehr"))
            .agent_settings(looks_often)
            .direct()
            .start()
            .await?;
        let mut world = World {
            fleet,
            identities: tempfile::tempdir()?,
            known: Map::new(),
        };
        world.bring_in().await?;
        world.change_states().await?;
        for (name, role, scope) in [SERVICE, AUDITOR] {
            world.enroll(name, role, scope).await?;
        }
        world.learn().await?;
        Ok(world)
    }

    /// What the cases of the table cannot know.
    pub fn known(&self) -> &Map<String, Value> {
        &self.known
    }

    pub fn nodes(&self) -> String {
        self.fleet.addresses().join(",")
    }

    /// A folder with a folder for each identity: `client.crt`, `client.key`, `root.crt`.
    pub fn identities(&self) -> &Path {
        self.identities.path()
    }

    pub fn identity(&self, name: &str) -> PathBuf {
        self.identities().join(name)
    }

    pub fn api_of(&self, name: &str) -> Result<Api> {
        let credentials = IdentityFiles::in_folder(self.identity(name)).credentials()?;
        Ok(Api::connect(&self.fleet.addresses(), &credentials)?)
    }

    /// Changes a tenant; the revision of the change, once it is acknowledged.
    pub async fn change(&self, slug: &str, name: &str) -> Result<u64> {
        let order = UpdateTenantRequest {
            request_id: request_id(),
            tenant: Some(Tenant {
                id: self.id(slug)?,
                display_name: name.to_owned(),
                ..Default::default()
            }),
            update_mask: vec!["display_name".to_owned()],
        };
        let changed = self.fleet.api().tenants().update_tenant(patiently(order)).await?;
        Ok(changed.into_inner().revision)
    }

    /// The id behind a slug.
    pub fn id(&self, slug: &str) -> Result<String> {
        let id = self.known.get(slug).and_then(Value::as_str);
        id.map(str::to_owned)
            .with_context(|| format!("there is no tenant {slug}"))
    }

    async fn bring_in(&mut self) -> Result<()> {
        let mut operations = Vec::new();
        for (slug, region) in [
            ("cho-ray", "vn"),
            ("hue", "vn"),
            ("da-nang", "vn"),
            ("bach-mai", "vn"),
            ("gone", "vn"),
            ("charite", "eu"),
        ] {
            operations.push((
                slug,
                tenants::create(self.fleet.api(), order(slug, region)).await?,
            ));
        }
        for (slug, operation) in operations {
            let ended = tenants::ended(self.fleet.api(), &operation.id, PATIENCE).await?;
            ensure!(
                ended.state() == State::Done,
                "{slug} was not onboarded: {ended:?}"
            );
            self.known.insert(slug.to_owned(), ended.tenant_id.into());
        }
        Ok(())
    }

    async fn change_states(&self) -> Result<()> {
        let mut tenants = self.fleet.api().tenants();
        let suspend = SuspendTenantRequest {
            request_id: request_id(),
            tenant: "hue".to_owned(),
            ..Default::default()
        };
        tenants.suspend_tenant(patiently(suspend)).await?;
        let delete = DeleteTenantRequest {
            request_id: request_id(),
            tenant: "gone".to_owned(),
            confirm: "gone".to_owned(),
            ..Default::default()
        };
        let deleting = tenants.delete_tenant(patiently(delete)).await?.into_inner();
        let deleting = deleting.operation.context("no operation")?;
        let ended = tenants::ended(self.fleet.api(), &deleting.id, PATIENCE).await?;
        ensure!(ended.state() == State::Done, "it was not deleted: {ended:?}");
        let fence = FenceGroupRequest {
            request_id: request_id(),
            group: "eu-1".to_owned(),
            reason: "a test".to_owned(),
            confirm: "eu-1".to_owned(),
        };
        self.fleet.api().groups().fence_group(patiently(fence)).await?;
        let shut = format!("ALTER ROLE {}_a NOLOGIN", self.id("da-nang")?);
        self.fleet.postgres("vn-1")?.ask("postgres", &shut).await?;
        until("the shut door to be noticed", PATIENCE, async || {
            let cause = self
                .tenant("da-nang")
                .await?
                .not_ready
                .map(|not_ready| not_ready.cause());
            Ok((cause == Some(not_ready::Cause::TurnedAway)).then_some(()))
        })
        .await
    }

    async fn tenant(&self, slug: &str) -> Result<Tenant> {
        let asked = GetTenantRequest {
            tenant: slug.to_owned(),
            read: None,
        };
        let found = self.fleet.api().tenants().get_tenant(patiently(asked)).await?;
        found.into_inner().tenant.context("no tenant")
    }

    async fn enroll(&self, name: &str, role: Role, scope: &[&str]) -> Result<()> {
        let token = self.fleet.token(role, name, "", scope).await?;
        let key = KeyRequest::generate()?;
        let enrolled = join::enroll(&self.fleet.addresses(), &token, &key)
            .await?
            .identity;
        let folder = self.identity(name);
        std::fs::create_dir(&folder)?;
        std::fs::write(folder.join("client.key"), key.key_pem.as_bytes())?;
        std::fs::write(folder.join("client.crt"), enrolled.chain_pem)?;
        Ok(std::fs::write(folder.join("root.crt"), enrolled.root_pem)?)
    }

    /// Waits until every node has heard of all of this: from here on each answers as any other.
    async fn learn(&mut self) -> Result<()> {
        let asked = GetTenantRequest {
            tenant: "cho-ray".to_owned(),
            read: None,
        };
        let found = self
            .fleet
            .api()
            .tenants()
            .get_tenant(patiently(asked))
            .await?
            .into_inner();
        let revision = found.freshness.context("no freshness")?.revision;
        for node in self.fleet.nodes() {
            let asked = GetTenantRequest {
                tenant: "cho-ray".to_owned(),
                read: Some(ReadLevel {
                    level: Some(read_level::Level::AtLeastRevision(revision)),
                }),
            };
            node.api().tenants().get_tenant(patiently(asked)).await?;
        }
        let root = std::fs::read_to_string(self.identity(SERVICE.0).join("root.crt"))?;
        let claims = |count| vec![json!({"kind": "KIND_SLUG", "key": "cho-ray"}); count];
        self.known.extend([
            ("revision".to_owned(), revision.to_string().into()),
            (
                "port".to_owned(),
                self.fleet.postgres("vn-1")?.advertised_port().into(),
            ),
            ("root".to_owned(), root.into()),
            ("claims_1000".to_owned(), claims(CLAIMS_MAX).into()),
            ("claims_1001".to_owned(), claims(CLAIMS_MAX + 1).into()),
        ]);
        Ok(())
    }
}

/// With a claim of each kind: the slug is always one.
fn order(slug: &str, region: &str) -> CreateTenantRequest {
    let mut order = tenants::order(slug, &format!("{slug}.example"), region, "ehr");
    for (kind, key) in [
        (claim::Kind::Header, format!("X-Tenant: {slug}")),
        (claim::Kind::Subject, format!("https://id.example|{slug}")),
    ] {
        order.claims.push(Claim {
            kind: kind.into(),
            key,
        });
    }
    order
}

/// The longest that a registry honours: on a slow machine a leader may have to be found first.
fn patiently<T>(message: T) -> tonic::Request<T> {
    const WRITE_PATIENCE: Duration = Duration::from_secs(30);
    let mut request = tonic::Request::new(message);
    request.set_timeout(WRITE_PATIENCE);
    request
}
