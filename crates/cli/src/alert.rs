//! `reeve alert`: what somebody should know of, and who looks after it.

use clap::{Args, Subcommand};
use reeve_client::v1;

use crate::fail::Failure;
use crate::session::Session;
use crate::show::Freshness;
use crate::show::alert::{Alert, Alerts};

#[derive(Debug, Args)]
pub struct Alerting {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Ls(LsArgs),
    Ack(AckArgs),
    Test(TestArgs),
}

/// Show what is wrong now, the worst first
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve alert ls\n  reeve alert ls --all\n  reeve alert ls -o json\n\nTOLD says whether the webhook knows. docs/runbooks/KIND.md says what each kind means and what to do."
)]
struct LsArgs {
    /// Also what was over lately
    #[arg(long)]
    all: bool,
}

/// Say that you look after an alert; it stays open until its cause is gone
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve alert ack a_0123456789abcdef --note 'on my way'\n  reeve alert ack a_0123456789abcdef --undo"
)]
struct AckArgs {
    /// Its id
    alert: String,
    /// One line for whoever looks next, up to 200 bytes
    #[arg(long, default_value = "")]
    note: String,
    /// Nobody looks after it any more
    #[arg(long, conflicts_with = "note")]
    undo: bool,
}

/// Try whether alerts arrive: raise one that means nothing, and resolves by itself after a minute
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  reeve alert test\n  reeve alert test --note 'drill of the night shift'")]
struct TestArgs {
    /// One line that comes with it, up to 200 bytes
    #[arg(long, default_value = "")]
    note: String,
}

pub async fn run(alert: Alerting, session: &Session) -> Result<(), Failure> {
    match alert.verb {
        Verb::Ls(args) => ls(args, session).await,
        Verb::Ack(args) => ack(args, session).await,
        Verb::Test(args) => test(args, session).await,
    }
}

async fn ls(args: LsArgs, session: &Session) -> Result<(), Failure> {
    let mut alerts = Alerts::default();
    let mut page_token = String::new();
    loop {
        let asked = v1::ListAlertsRequest {
            page_size: 1000,
            page_token,
            include_resolved: args.all,
            ..Default::default()
        };
        let answer = session
            .api()?
            .alerts()
            .list_alerts(session.ask(asked))
            .await?
            .into_inner();
        alerts.alerts.extend(answer.alerts.into_iter().map(Alert::from));
        alerts.freshness = Some(Freshness::of(answer.freshness));
        page_token = answer.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    alerts.sort();
    session.print(&alerts)
}

async fn ack(args: AckArgs, session: &Session) -> Result<(), Failure> {
    let asked = v1::AcknowledgeAlertRequest {
        request_id: session.request_id(),
        alert: args.alert,
        note: args.note,
        undo: args.undo,
    };
    let answer = session
        .api()?
        .alerts()
        .acknowledge_alert(session.ask(asked))
        .await?;
    show(answer.into_inner().alert, session)
}

async fn test(args: TestArgs, session: &Session) -> Result<(), Failure> {
    let asked = v1::TestAlertRequest {
        request_id: session.request_id(),
        note: args.note,
    };
    let answer = session.api()?.alerts().test_alert(session.ask(asked)).await?;
    show(answer.into_inner().alert, session)
}

fn show(alert: Option<v1::Alert>, session: &Session) -> Result<(), Failure> {
    session.print(&Alerts {
        alerts: alert.into_iter().map(Alert::from).collect(),
        freshness: None,
    })
}
