//! Who a service is, for as long as it runs: its certificate is renewed at half of its life.
//!
//! ```text
//! half of its life ─► is a newer one on disk? ─┬─► yes: taken
//!                                              └─► no: a new key ─► RenewCertificate ─► on disk ─► in use
//! ```
//! Connections that are open go on; those that are made from then on show the next certificate.

mod files;

use std::time::{Duration, SystemTime};

use reeve_proto::{
    identity::{Credentials, KeyRequest, Kind},
    v1::RenewCertificateRequest,
};
use tonic::Request;
use tracing::{info, warn};

pub use self::files::IdentityFiles;
use self::files::Turn;
use crate::{Api, Error};

const PATIENCE: Duration = Duration::from_secs(30);
/// Before it is tried again. Some hundred tries fit into what is left of a certificate.
const PAUSE: Duration = Duration::from_secs(60);
/// While somebody else renews it, which takes moments.
const ANOTHERS_PAUSE: Duration = Duration::from_secs(1);

/// What one certificate's renewal came to.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Renewed,
    /// Somebody else had put a newer one on disk.
    Taken,
    /// Somebody else is at it.
    Later,
}

/// Keeps a service's certificate fresh, for ever. Of others there is nothing to keep: a person's session ends.
pub(crate) async fn keep_fresh(api: Api, credentials: Credentials, files: Option<IdentityFiles>) {
    if !matches!(credentials.spiffe().kind(), Kind::Service(_)) {
        return;
    }
    loop {
        tokio::time::sleep(until_half_life(&credentials, SystemTime::now())).await;
        match renew(&api, &credentials, files.as_ref()).await {
            Ok(Done::Later) => tokio::time::sleep(jittered(ANOTHERS_PAUSE)).await,
            Ok(done) => info!(?done, "this service's certificate is another one"),
            Err(error) => {
                warn!(%error, "this service's certificate was not renewed; it is tried again");
                tokio::time::sleep(jittered(PAUSE)).await;
            }
        }
    }
}

async fn renew(api: &Api, credentials: &Credentials, files: Option<&IdentityFiles>) -> Result<Done, Error> {
    // Held until the files are written: of several processes with the same files one renews, and the others take it.
    let turn = files.map(IdentityFiles::turn);
    if let Some(files) = files {
        if files.take_newer(credentials)? {
            return Ok(Done::Taken);
        }
        if let Some(Turn::Anothers) = turn {
            return Ok(Done::Later);
        }
    }
    let own = KeyRequest::generate().map_err(|error| Error::Invalid {
        what: "key",
        why: error.to_string(),
    })?;
    let mut request = Request::new(RenewCertificateRequest {
        csr_pem: own.csr_pem.clone(),
    });
    request.set_timeout(PATIENCE);
    let chain = api
        .access()
        .renew_certificate(request)
        .await?
        .into_inner()
        .certificate_chain_pem;
    credentials
        .renew_pem(&chain, &own.key_pem)
        .map_err(|error| Error::Answer(error.to_string()))?;
    if let Some(files) = files {
        files.write(&chain, &own.key_pem)?;
    }
    Ok(Done::Renewed)
}

fn until_half_life(credentials: &Credentials, now: SystemTime) -> Duration {
    let (from, to) = (credentials.not_before(), credentials.not_after());
    let half = from + to.duration_since(from).unwrap_or_default() / 2;
    half.duration_since(now).unwrap_or_default()
}

/// With some of it by chance, so that those who were enrolled together do not come together for ever.
fn jittered(most: Duration) -> Duration {
    most.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
