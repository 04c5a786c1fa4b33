//! What a webhook gets to read, and when it counts as told.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_domain::alert::{Kind, Raised, ReportAlerts};
use reeve_domain::{Revision, Stamp};
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
        count: 1,
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
    let mut state = with(1);
    let named = "docs/runbooks/TenantsNotReady.md";
    let kept = "https://wiki.example/reeve/TenantsNotReady.md";
    for (status, ends, runbooks, runbook) in [
        ("firing", "0001-01-01T00:00:00Z", "", named),
        (
            "resolved",
            "2026-09-21T14:13:20Z",
            "https://wiki.example/reeve/",
            kept,
        ),
    ] {
        let settings = Alerts {
            runbooks: runbooks.to_owned(),
            ..Alerts::default()
        };
        let alert = state.alerts[&raised(0).id()].clone();
        let told: Value = serde_json::from_slice(&payload::body(&state, &alert, &settings)).unwrap();
        let labels = json!({
            "alertname": "TenantsNotReady",
            "cluster": "hospital",
            "severity": "critical",
            "subject": "vn-0",
        });
        let annotations = json!({
            "summary": "services of active tenants do not come into their databases",
            "description": "t_000000000001 turned away",
            "runbook_url": runbook,
        });
        let key =
            r#"{}:{alertname="TenantsNotReady", cluster="hospital", severity="critical", subject="vn-0"}"#;
        let expected = json!({
            "version": "4",
            "groupKey": key,
            "truncatedAlerts": 0,
            "status": status,
            "receiver": "reeve",
            "groupLabels": labels,
            "commonLabels": labels,
            "commonAnnotations": annotations,
            "externalURL": "",
            "alerts": [{
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": "2026-09-21T14:13:20Z",
                "endsAt": ends,
                "generatorURL": "",
                "fingerprint": raised(0).id().as_str().trim_start_matches("a_"),
            }],
        });
        assert_eq!(told, expected);
        report(&mut state, Vec::new(), vec![raised(0).id()]);
    }
}

#[test]
fn each_turn_is_told_in_its_order_and_what_is_told_once_is_told_to_its_end() {
    let mut state = with(3);
    // What was over before anything was told is nothing to anybody.
    report(&mut state, Vec::new(), vec![raised(0).id()]);
    let (before, none) = next(&state).unwrap();
    assert_eq!((before, none.len()), (Revision(1), 0));
    alert::note_told(&mut state, NoteTold { through: before }).unwrap();
    report(&mut state, Vec::new(), vec![raised(1).id(), raised(2).id()]);
    let mut told = Vec::new();
    while let Some((through, turned)) = next(&state) {
        told.push(
            turned
                .iter()
                .map(|alert| alert.subject.clone())
                .collect::<Vec<_>>(),
        );
        alert::note_told(&mut state, NoteTold { through }).unwrap();
    }
    let mut together = told.pop().unwrap();
    together.sort();
    assert_eq!(together, ["vn-1", "vn-2"], "what turned at once");
    assert_eq!(told, [["vn-0"]]);
}

#[test]
fn what_is_refused_for_what_it_says_is_left_out_in_the_end_and_nothing_else_is() {
    let mut state = with(0);
    report(&mut state, vec![raised(0), raised(1), raised(2)], Vec::new());
    let [first, second, third] = [0, 1, 2].map(|serial| &state.alerts[&raised(serial).id()]);
    let mut unwanted = Unwanted::default();
    let bad = StatusCode::BAD_REQUEST;
    // Three that turned together: one is taken, two are refused, each time anew.
    for time in 1..=REFUSALS_MAX {
        for alert in [first, second] {
            assert!(!unwanted.is_settled(alert));
            for passing in [
                StatusCode::UNAUTHORIZED,
                StatusCode::NOT_FOUND,
                StatusCode::BAD_GATEWAY,
            ] {
                assert!(!unwanted.was_refused(alert, passing));
            }
            assert_eq!(unwanted.was_refused(alert, bad), time == REFUSALS_MAX, "{time}");
        }
        assert_eq!(unwanted.is_settled(third), time > 1);
        unwanted.was_taken(third);
    }
    assert!(
        [first, second, third]
            .iter()
            .all(|alert| unwanted.is_settled(alert))
    );
    // The same alert has turned again: it is another message.
    let mut again = first.clone();
    again.turned = Revision(99);
    assert!(!unwanted.is_settled(&again) && !unwanted.was_refused(&again, bad));
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
    for (content, says) in [("two\nlines", "one line"), (" \n", "one line")] {
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
