//! Tells the registry that this process holds no earlier credential, until it has heard.

use std::time::Duration;

use reeve_proto::v1::AcknowledgeCredentialRequest;
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::Request;
use tracing::debug;

use crate::{Api, Error, pools::Acknowledgement};

const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Carries them out in their order.
pub(crate) async fn run(api: Api, instance: String, mut due: UnboundedReceiver<Acknowledgement>) {
    while let Some(one) = due.recv().await {
        let mut pause = PAUSE_MIN;
        while let Err(error) = say(&api, &instance, &one, PATIENCE).await {
            // What was refused for what it says would be refused again; all else may be mended meanwhile.
            if matches!(error, Error::Refused(_)) {
                debug!(tenant = %one.tenant, %error, "an acknowledgement is not wanted");
                break;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + 0.5 * rand::random::<f64>())).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Says one.
pub(crate) async fn say(
    api: &Api,
    instance: &str,
    one: &Acknowledgement,
    patience: Duration,
) -> Result<(), Error> {
    let mut request = Request::new(AcknowledgeCredentialRequest {
        tenant_id: one.tenant.to_string(),
        version: one.version,
        instance: instance.to_owned(),
    });
    request.set_timeout(patience);
    api.resolver().acknowledge_credential(request).await?;
    Ok(())
}
