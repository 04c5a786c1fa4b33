//! GroupService: regions, groups of PostgreSQL instances, and their fences.

use reeve_domain::group::Region;
use reeve_domain::words::Name;
use reeve_domain::{Answer, Command, Refusal, State};
use reeve_proto::convert::{self, BadField};
use reeve_proto::v1::group_service_server::GroupService;
use reeve_proto::{error, v1};
use tonic::{Request, Response, Status};

use crate::edge::desk::{Answered, Desk};
use crate::edge::page::{self, Page};
use crate::edge::read::{self, Level};
use crate::edge::{parse, status};
use crate::policy::{self, Intent};

pub(super) struct Groups {
    pub desk: Desk,
}

#[tonic::async_trait]
impl GroupService for Groups {
    async fn list_regions(
        &self,
        request: Request<v1::ListRegionsRequest>,
    ) -> Result<Response<v1::ListRegionsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        Ok(Response::new(v1::ListRegionsResponse {
            regions: reading.state.regions.values().map(convert::region).collect(),
            freshness: Some(reading.freshness),
        }))
    }

    async fn create_region(
        &self,
        request: Request<v1::CreateRegionRequest>,
    ) -> Result<Response<v1::CreateRegionResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let region = region(wire.region)?;
        let permit = policy::decide(&self.desk.state(), &call.caller, call.action(), None)?;
        let intent = Intent::new(Command::CreateRegion(region)).once(key);
        let answered = self.desk.propose(&call, permit, intent).await?;
        let Answer::Region(name) = &answered.answer else {
            return Err(status::odd_answer("a region"));
        };
        Ok(Response::new(v1::CreateRegionResponse {
            region: answered.state.regions.get(name).map(convert::region),
        }))
    }

    async fn list_groups(
        &self,
        request: Request<v1::ListGroupsRequest>,
    ) -> Result<Response<v1::ListGroupsResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let region = parse::name_or_none("region", &wire.region)?;
        let query = format!("groups region={}", wire.region);
        let page = Page::parse(wire.page_size, &wire.page_token, query)?;
        let after = page::key(page.after.as_deref(), Name::parse)?;

        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let entries = page::behind(&reading.state.groups, after.as_ref())
            .map(|(_, group)| group)
            .filter(|group| region.as_ref().is_none_or(|region| &group.region == region));
        let (shown, next_page_token) = page.cut(entries, |group| group.name.to_string());
        let sight = self.desk.sight().await;
        let seen = |group| convert::group(&reading.state, group, &sight.sightings, sight.now);
        Ok(Response::new(v1::ListGroupsResponse {
            groups: shown.into_iter().map(seen).collect(),
            next_page_token,
            freshness: Some(reading.freshness),
        }))
    }

    async fn get_group(
        &self,
        request: Request<v1::GetGroupRequest>,
    ) -> Result<Response<v1::GetGroupResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let level = read::level(wire.read.as_ref(), Level::Linearizable)?;
        let name = parse::name("group", &wire.group)?;
        let reading = self.desk.read(&call, level).await?;
        policy::standing(&reading.state, &call.caller, call.action())?;
        let group = self.shown(&reading.state, &name).await;
        Ok(Response::new(v1::GetGroupResponse {
            group: Some(group.ok_or_else(|| error::refusal(&Refusal::GroupNotFound(name.to_string())))?),
            freshness: Some(reading.freshness),
        }))
    }

    async fn fence_group(
        &self,
        request: Request<v1::FenceGroupRequest>,
    ) -> Result<Response<v1::FenceGroupResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let group = parse::name("group", &wire.group)?;
        let reason = parse::reason(wire.reason)?;
        let permit = policy::decide(&self.desk.state(), &call.caller, call.action(), None)?;
        parse::confirmed(&wire.confirm, group.as_str(), "the group")?;
        let intent = Intent::new(Command::FenceGroup { group })
            .once(key)
            .because(reason);
        let answered = self.desk.propose(&call, permit, intent).await?;
        Ok(Response::new(v1::FenceGroupResponse {
            group: self.changed(&answered).await?,
        }))
    }

    async fn unfence_group(
        &self,
        request: Request<v1::UnfenceGroupRequest>,
    ) -> Result<Response<v1::UnfenceGroupResponse>, Status> {
        let (call, wire) = self.desk.admit(request)?;
        let key = self.desk.key(&call, &wire)?;
        let group = parse::name("group", &wire.group)?;
        let reason = parse::reason(wire.reason)?;
        let permit = policy::decide(&self.desk.state(), &call.caller, call.action(), None)?;
        let intent = Intent::new(Command::UnfenceGroup { group })
            .once(key)
            .because(reason);
        let answered = self.desk.propose(&call, permit, intent).await?;
        Ok(Response::new(v1::UnfenceGroupResponse {
            group: self.changed(&answered).await?,
        }))
    }
}

impl Groups {
    async fn shown(&self, state: &State, name: &Name) -> Option<v1::Group> {
        let group = state.groups.get(name)?;
        let sight = self.desk.sight().await;
        Some(convert::group(state, group, &sight.sightings, sight.now))
    }

    async fn changed(&self, answered: &Answered) -> Result<Option<v1::Group>, Status> {
        match &answered.answer {
            Answer::Group(name) => Ok(self.shown(&answered.state, name).await),
            _ => Err(status::odd_answer("a group")),
        }
    }
}

fn region(wire: Option<v1::Region>) -> Result<Region, BadField> {
    let wire = wire.ok_or_else(|| BadField::new("region", "is required"))?;
    let name = parse::name("region.name", &wire.name)?;
    convert::line(
        "region.display_name",
        &wire.display_name,
        convert::DISPLAY_NAME_BYTES_MAX,
    )?;
    let display_name = match wire.display_name.is_empty() {
        true => name.to_string(),
        false => wire.display_name,
    };
    Ok(Region { name, display_name })
}
