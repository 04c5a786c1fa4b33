//! What a webhook is sent: the shape that Prometheus' Alertmanager sends to webhooks (version 4), which pagers, chats and
//! ticket systems read already.

use std::collections::BTreeMap;

use bytes::Bytes;
use reeve_domain::State;
use reeve_domain::alert::Alert;
use reeve_proto::convert::time;
use serde::Serialize;

use crate::config::Alerts;

/// When what is still the case ends, as Alertmanager writes it.
const NEVER: &str = "0001-01-01T00:00:00Z";

type Words = BTreeMap<&'static str, String>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    version: &'static str,
    group_key: String,
    truncated_alerts: u32,
    status: &'static str,
    receiver: &'static str,
    group_labels: Words,
    common_labels: Words,
    common_annotations: Words,
    #[serde(rename = "externalURL")]
    external_url: &'static str,
    alerts: [Told; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    status: &'static str,
    labels: Words,
    annotations: Words,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: &'static str,
    fingerprint: String,
}

/// One message of one alert, as Alertmanager sends those that are grouped by all of their labels: what is over in it is
/// over, whatever else goes on.
pub(super) fn body(state: &State, alert: &Alert, settings: &Alerts) -> Bytes {
    let kind = alert.kind.name();
    let labels = Words::from([
        ("alertname", kind.to_owned()),
        ("cluster", state.cluster.name.clone()),
        ("severity", alert.kind.severity().word().to_owned()),
        ("subject", alert.subject.clone()),
    ]);
    let annotations = Words::from([
        ("summary", alert.kind.summary().to_owned()),
        ("description", alert.detail.clone()),
        ("runbook_url", settings.runbook(kind)),
    ]);
    let named: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let over = alert.resolved.map(|at| time::timestamp(at).to_string());
    let told = Told {
        status: status(alert.is_open()),
        labels: labels.clone(),
        annotations: annotations.clone(),
        starts_at: time::timestamp(alert.raised).to_string(),
        ends_at: over.unwrap_or_else(|| NEVER.to_owned()),
        generator_url: "",
        fingerprint: alert.id.as_str().trim_start_matches("a_").to_owned(),
    };
    let message = Message {
        version: "4",
        group_key: format!("{{}}:{{{}}}", named.join(", ")),
        truncated_alerts: 0,
        status: told.status,
        receiver: "reeve",
        group_labels: labels.clone(),
        common_labels: labels,
        common_annotations: annotations,
        external_url: "",
        alerts: [told],
    };
    // Maps of words and numbers cannot fail to be written.
    serde_json::to_vec(&message).unwrap_or_default().into()
}

fn status(is_open: bool) -> &'static str {
    match is_open {
        true => "firing",
        false => "resolved",
    }
}
