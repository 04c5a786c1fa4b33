//! What a webhook gets to read, and when it counts as told.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::alert::Kind;
use reeve_domain::alert::{self, Raised, ReportAlerts};
use reeve_domain::{Revision, Stamp, State};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

fn with(alerts: usize) -> State {
    let mut state = State::default();
    state.cluster.name = "hospital".into();
    for serial in 0..alerts {
        report(&mut state, vec![raised(serial)], Vec::new());
    }
    state
}

fn raised(serial: usize) -> Raised {
    Raised {
        kind: Kind::TenantsNotReady,
        subject: format!("vn-{serial}"),
        detail: "t_000000000001 turned away".into(),
    }
}

fn report(state: &mut State, raised: Vec<Raised>, resolved: Vec<reeve_domain::ids::AlertId>) {
    let order = ReportAlerts { raised, resolved };
    alert::report(state, Stamp(1_790_000_000_000), order).unwrap();
    state.revision = state.revision.next();
}

#[test]
fn a_message_reads_as_one_of_alertmanagers() {
    let mut state = with(2);
    state.alerts_told = Some(Revision(0));
    report(&mut state, Vec::new(), vec![raised(0).id()]);
    let (body, through, count) = message(&state).unwrap();
    assert_eq!((through, count), (Revision(3), 2));
    let told: Value = serde_json::from_slice(&body).unwrap();
    let alert = |serial: usize, status: &str, ends: &str| {
        let id = raised(serial).id();
        json!({
            "status": status,
            "labels": {
                "alertname": "TenantsNotReady",
                "cluster": "hospital",
                "severity": "critical",
                "subject": format!("vn-{serial}"),
            },
            "annotations": {
                "summary": "services of active tenants do not come into their databases",
                "description": "t_000000000001 turned away",
                "runbook_url": "docs/runbooks/TenantsNotReady.md",
            },
            "startsAt": "2026-09-21T14:13:20Z",
            "endsAt": ends,
            "generatorURL": "",
            "fingerprint": id.as_str().trim_start_matches("a_"),
        })
    };
    let expected = json!({
        "version": "4",
        "groupKey": "{}:{cluster=\"hospital\"}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "reeve",
        "groupLabels": { "cluster": "hospital" },
        "commonLabels": { "cluster": "hospital" },
        "commonAnnotations": {},
        "externalURL": "",
        "alerts": [
            alert(1, "firing", "0001-01-01T00:00:00Z"),
            alert(0, "resolved", "2026-09-21T14:13:20Z"),
        ],
    });
    assert_eq!(told, expected);
}

#[test]
fn many_are_told_in_parts_that_leave_none_out() {
    let mut state = with(2 * ALERTS_MAX + 1);
    let together = (0..70).map(|serial| raised(1_000 + serial)).collect();
    report(&mut state, together, Vec::new());
    let mut told = 0;
    let mut sizes = Vec::new();
    while let Some((body, through, count)) = message(&state) {
        let read: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(read["alerts"].as_array().unwrap().len(), count);
        alert::note_told(&mut state, NoteTold { through }).unwrap();
        told += count;
        sizes.push(count);
    }
    assert_eq!(told, 2 * ALERTS_MAX + 1 + 70);
    // The third part ends within what turned at once, which goes together.
    assert_eq!(sizes, [50, 50, 71]);
}

/// A webhook that answers the next requests with these, and keeps what it was sent.
async fn webhook(answers: &'static [&'static str]) -> (Alerts, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = Alerts {
        webhook: format!("http://{}/hook?key=7", listener.local_addr().unwrap()),
        patience_ms: 300,
        ..Alerts::default()
    };
    let heard: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = heard.clone();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            // The body is one short line, and comes with what is before it or after.
            while !text.ends_with(b"}") {
                if stream.read_buf(&mut text).await.unwrap() == 0 {
                    break;
                }
            }
            seen.lock().push(String::from_utf8(text).unwrap());
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer.is_empty() {
                std::future::pending::<()>().await;
            }
        }
    });
    (settings, heard)
}

#[tokio::test]
async fn only_a_success_says_that_it_was_told() {
    let (settings, heard) = webhook(&[
        "HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 Fine\r\n\r\n",
        "",
    ])
    .await;
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "t0ken\n").unwrap();
    let settings = Alerts {
        token_file: token.path().into(),
        ..settings
    };
    let say = || post(&settings, Bytes::from_static(b"{\"a\":1}"));
    assert!(matches!(
        say().await,
        Err(Failure::Refused(StatusCode::INTERNAL_SERVER_ERROR))
    ));
    // A redirect could lead the token anywhere.
    assert!(matches!(say().await, Err(Failure::Refused(StatusCode::FOUND))));
    say().await.unwrap();
    let failure = say().await.expect_err("it says nothing at all");
    assert!(
        matches!(failure, Failure::Wire(_) | Failure::Late(_)),
        "{failure}"
    );
    for request in heard.lock().iter() {
        assert!(request.starts_with("POST /hook?key=7 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer t0ken\r\n"), "{request}");
        assert!(
            request.contains("content-type: application/json\r\n"),
            "{request}"
        );
    }
}

#[tokio::test]
async fn who_cannot_be_reached_is_named_without_what_may_be_a_key() {
    let settings = Alerts {
        webhook: "http://127.0.0.1:1/T0/s3cret?key=7".into(),
        ..Alerts::default()
    };
    let failure = post(&settings, Bytes::new()).await.unwrap_err().to_string();
    assert!(
        failure.contains("127.0.0.1:1") && !failure.contains("s3cret") && !failure.contains("key"),
        "{failure}"
    );
    for (content, says) in [("two\nlines", "one line"), ("", "")] {
        let token = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(token.path(), content).unwrap();
        let settings = Alerts {
            token_file: token.path().into(),
            ..settings.clone()
        };
        let failure = post(&settings, Bytes::new()).await.unwrap_err().to_string();
        assert!(failure.contains(says), "{failure}");
    }
}

#[test]
fn pauses_grow_and_end() {
    let seconds: Vec<u64> = [0, 1, 2, 6, 7, 31, 32, u32::MAX]
        .map(|failed| pause(failed).as_secs())
        .into();
    assert_eq!(seconds, [1, 2, 4, 60, 60, 60, 60, 60]);
    assert!(pause(0) > Duration::ZERO);
}

#[tokio::test]
async fn whoever_shows_a_certificate_that_nobody_vouches_for_is_told_nothing() {
    let options = reeve_bucket::Options::default();
    let server = reeve_bucket::Server::start(options).await.unwrap();
    let settings = Alerts {
        webhook: format!("{}/hook", server.endpoint()),
        ..Alerts::default()
    };
    let failure = post(&settings, Bytes::new()).await.unwrap_err().to_string();
    assert!(failure.contains("not trusted"), "{failure}");
    assert_eq!(server.asked(), Vec::<String>::new(), "nothing was said to it");
    let trusting = Alerts {
        ca_file: server.ca_file(),
        ..settings
    };
    // It is a store of backups and no webhook, and says so.
    let failure = post(&trusting, Bytes::new()).await.unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure}");
}
