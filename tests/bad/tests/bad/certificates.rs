//! Who shows a certificate that is none, or not theirs to show: told in the handshake, and let in nowhere.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose as Eku, KeyPair, SanType};
use reeve_bad::world::{CLUSTER, Who, World};
use reeve_client::KeyRequest;
use reeve_client::v1::WhoAmIRequest;
use reeve_client::v1::access_service_client::AccessServiceClient;
use reeve_proto::error::{self, Reason};
use reeve_proto::identity::{
    Authority, Credentials, Expect, Issuer, SpiffeId, Tuning, Usage, ca, channel, connector,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

use crate::{Tally, Watch, note};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// A chain and its key, PEM.
pub struct Leaf {
    pub chain: String,
    pub key: String,
}

/// The cluster's own authority, from the folder that should be offline.
struct Forge {
    root: Authority,
    issuing: Authority,
}

pub async fn play(world: &World, watch: &mut Watch, tally: &mut Tally) -> Result<()> {
    let ours = Forge::of(world)?;
    let other = ca::root(CLUSTER, SystemTime::now())?;
    let other = Forge::below(other)?;
    let client = &[Eku::ClientAuth];
    let ehr = "spiffe://hospital/svc/ehr";
    for (name, leaf, alert) in [
        (
            "one that has expired",
            ours.issued("svc/ehr", SystemTime::now() - DAY)?,
            "CertificateExpired",
        ),
        (
            "one of tomorrow",
            ours.issued("svc/ehr", SystemTime::now() + DAY)?,
            "alert",
        ),
        (
            "one of another authority",
            other.issued("svc/ehr", SystemTime::now())?,
            "alert",
        ),
        (
            "one for servers alone",
            ours.forged(&[ehr], &[Eku::ServerAuth])?,
            "alert",
        ),
        ("one for nothing", ours.forged(&[ehr], &[])?, "alert"),
        (
            "one of another trust domain",
            ours.forged(&["spiffe://clinic/svc/ehr"], client)?,
            "alert",
        ),
        (
            "one with two names",
            ours.forged(&[ehr, "spiffe://hospital/person/ann"], client)?,
            "alert",
        ),
        ("one without a name", ours.forged(&[], client)?, "alert"),
    ] {
        let said = knock(world, &ours, &leaf).await;
        let faults = match &said {
            Ok(()) => vec!["it was let in".to_owned()],
            Err(told) if told.contains(alert) => Vec::new(),
            Err(told) => vec![format!("{told} does not say {alert}")],
        };
        note(watch, tally, name, faults, &format!("{said:?}")).await?;
    }
    // The forge itself is good: what it makes as it should be comes in, and then nobody knows it.
    let stranger = ours.issued("svc/stranger", SystemTime::now())?;
    let refused = who_am_i(world, &ours, &stranger).await?;
    note(
        watch,
        tally,
        "a name that nobody knows",
        unauthenticated(&refused),
        &refused,
    )
    .await?;
    let mut nobody = AccessServiceClient::new(world.channel(Who::Nobody)?);
    let refused = nobody.who_am_i(WhoAmIRequest {}).await;
    let told = refused
        .err()
        .map(|status| format!("{:?}", error::info(&status).reason));
    let told = told.unwrap_or_default();
    note(watch, tally, "no certificate", unauthenticated(&told), &told).await
}

fn unauthenticated(reason: &str) -> Vec<String> {
    match reason == format!("{:?}", Reason::Unauthenticated) {
        true => Vec::new(),
        false => vec![format!("{reason:?}")],
    }
}

async fn who_am_i(world: &World, forge: &Forge, leaf: &Leaf) -> Result<String> {
    let credentials = Credentials::from_pem(&leaf.chain, &leaf.key, &forge.root.cert_pem)?;
    let dial = connector(&credentials, Expect::AnyNode)?;
    let channel = channel(&world.asked, dial, &Tuning::default())?;
    let answer = AccessServiceClient::new(channel).who_am_i(WhoAmIRequest {}).await;
    let reason = answer
        .err()
        .map(|status| format!("{:?}", error::info(&status).reason));
    Ok(reason.unwrap_or_default())
}

/// Those that people show by mistake: which, the certificate, and what its holder must be told.
pub fn mistaken(world: &World) -> Result<Vec<(&'static str, Leaf, &'static str)>> {
    let now = SystemTime::now();
    let ours = Forge::of(world)?;
    let other = Forge::below(ca::root(CLUSTER, now)?)?;
    let admin = "person/admin";
    let for_servers = ours.forged(&[&format!("spiffe://{CLUSTER}/{admin}")], &[Eku::ServerAuth])?;
    Ok(vec![
        ("expired", ours.issued(admin, now - DAY)?, "it ended at"),
        ("of-tomorrow", ours.issued(admin, now + DAY)?, "it begins at"),
        (
            "of-another-authority",
            other.issued(admin, now)?,
            "does not lead to the given roots",
        ),
        ("for-servers", for_servers, "does not allow"),
        (
            "of-a-stranger",
            ours.issued("person/stranger", now)?,
            "UNAUTHENTICATED",
        ),
    ])
}

/// Shows a certificate, and waits for the first byte; what came instead, if it did not come.
async fn knock(world: &World, forge: &Forge, leaf: &Leaf) -> Result<(), String> {
    let dialled = async {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(
            forge.true_root(world)?.as_bytes(),
        )?)?;
        let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        let tcp = TcpStream::connect(&world.asked).await?;
        let name = "127.0.0.1".try_into()?;
        let mut tls = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, tcp)
            .await?;
        tls.read_u8().await?;
        Ok::<_, anyhow::Error>(())
    };
    dialled.await.map_err(|error| format!("{error:#}"))
}

impl Forge {
    fn of(world: &World) -> Result<Forge> {
        let read = |name: &str| std::fs::read_to_string(world.fleet.dir().join("ca").join(name));
        Forge::below(Authority {
            cert_pem: read("root.crt")?,
            key_pem: Zeroizing::new(read("root.key")?),
        })
    }

    fn below(root: Authority) -> Result<Forge> {
        let issuing = ca::issuing(&root, CLUSTER, SystemTime::now() - 2 * DAY)?;
        Ok(Forge { root, issuing })
    }

    fn true_root(&self, world: &World) -> Result<String> {
        Ok(std::fs::read_to_string(world.fleet.dir().join("ca/root.crt"))?)
    }

    fn issued(&self, who: &str, at: SystemTime) -> Result<Leaf> {
        let issuer = Issuer::new(&self.issuing.cert_pem, &self.issuing.key_pem, &self.root.cert_pem)?;
        let own = KeyRequest::generate()?;
        let id = SpiffeId::parse(&format!("spiffe://{CLUSTER}/{who}"))?;
        let issued = issuer.issue(&own.csr_pem, &id, &Usage::Client, HOUR, at)?;
        Ok(Leaf {
            chain: issued.chain_pem,
            key: own.key_pem.to_string(),
        })
    }

    /// What our own code would never issue, signed by the true issuing key.
    fn forged(&self, uris: &[&str], uses: &[Eku]) -> Result<Leaf> {
        let key = KeyPair::generate()?;
        let signing = KeyPair::from_pem(&self.issuing.key_pem)?;
        let signer = rcgen::Issuer::from_ca_cert_pem(&self.issuing.cert_pem, signing)?;
        let mut params = CertificateParams::default();
        for uri in uris {
            params.subject_alt_names.push(SanType::URI((*uri).try_into()?));
        }
        params.extended_key_usages = uses.to_vec();
        let cert = params.signed_by(&key, &signer).context("signing")?;
        Ok(Leaf {
            chain: format!("{}{}{}", cert.pem(), self.issuing.cert_pem, self.root.cert_pem),
            key: key.serialize_pem(),
        })
    }
}
