//! AlertService: what somebody should know of, and who looks after it.

use reeve_domain::alert::{Acknowledge, TestAlert};
use reeve_domain::ids::AlertId;
use reeve_domain::request::Key;
use reeve_domain::{Answer, Command, Refusal, State, version};
use reeve_proto::convert::BadField;
use reeve_proto::error::Reason;
use reeve_proto::v1::alert_service_server::AlertService;
use reeve_proto::{convert, error, v1};
use tonic::{Request, Response, Status};

use crate::edge::admit::Call;
use crate::edge::desk::Desk;
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{parse, status};
use crate::policy::{self, Intent};

pub(super) struct Alerts {
    pub desk: Desk,
}

#[tonic::async_trait]
impl AlertService for Alerts {
    async fn list_alerts(
        &self,
        request: Request<v1::ListAlertsRequest>,
    ) -> Result<Response<v1::ListAlertsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let query = format!("alerts resolved={}", wire.include_resolved);
        let page = Page::parse(wire.page_size, &wire.page_token, query)?;
        let after = page::key(page.after.as_deref(), AlertId::parse)?;

        let reading = self.desk.read(&call, level).await?;
        let state = &reading.state;
        check(state, &call)?;
        let entries = page::behind(&state.alerts, after.as_ref())
            .map(|(_, alert)| alert)
            .filter(|alert| wire.include_resolved || alert.is_open());
        let (shown, next_page_token) = page.cut(entries, |alert| alert.id.to_string());
        Ok(Response::new(v1::ListAlertsResponse {
            alerts: shown
                .into_iter()
                .map(|alert| convert::alert(state, alert))
                .collect(),
            next_page_token,
            freshness: Some(reading.freshness),
        }))
    }

    async fn acknowledge_alert(
        &self,
        request: Request<v1::AcknowledgeAlertRequest>,
    ) -> Result<Response<v1::AcknowledgeAlertResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let alert = AlertId::parse(&wire.alert).map_err(|error| BadField::new("alert", error))?;
        let order = Acknowledge {
            alert,
            note: parse::note(wire.note)?,
            undo: wire.undo,
        };
        let alert = self.change(&call, key, Command::AcknowledgeAlert(order)).await?;
        Ok(Response::new(v1::AcknowledgeAlertResponse { alert: Some(alert) }))
    }

    async fn test_alert(
        &self,
        request: Request<v1::TestAlertRequest>,
    ) -> Result<Response<v1::TestAlertResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let order = TestAlert {
            note: parse::note(wire.note)?,
        };
        let alert = self.change(&call, key, Command::TestAlert(order)).await?;
        Ok(Response::new(v1::TestAlertResponse { alert: Some(alert) }))
    }
}

impl Alerts {
    /// Changes an alert; what it looks like then.
    async fn change(&self, call: &Call, key: Key, command: Command) -> Result<v1::Alert, Status> {
        let state = self.desk.state();
        let permit = policy::decide(&state, &call.caller, call.action(), None)?;
        check(&state, call)?;
        let intent = Intent::new(command).once(key);
        let answered = self.desk.propose(call, permit, intent).await?;
        let Answer::Alert(id) = &answered.answer else {
            return Err(status::odd_answer("an alert"));
        };
        let found = answered.state.alerts.get(id);
        let found = found.ok_or_else(|| error::refusal(&Refusal::AlertNotFound(id.to_string())))?;
        Ok(convert::alert(&answered.state, found))
    }
}

/// Any alert may name tenants: they are for who sees all of them. An empty list where nobody looks would be no good news.
fn check(state: &State, call: &Call) -> Result<(), Status> {
    if !policy::standing(state, &call.caller, call.action())?.sees_everything() {
        let why =
            "alerts are of the whole fleet, and you may see some tenants of it; ask somebody who sees all";
        return Err(error::status(Reason::PermissionDenied, why, &[]));
    }
    if state.cluster.version < version::TURNS {
        return Err(error::refusal(&Refusal::ClusterVersionTooLow {
            command: "alerts".to_owned(),
            needs: version::TURNS,
            is: state.cluster.version,
            behind: String::new(),
        }));
    }
    Ok(())
}
