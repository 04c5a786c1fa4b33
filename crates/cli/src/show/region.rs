//! Regions.

use reeve_client::v1;
use serde::Serialize;

use super::{Freshness, Page, Show, col, lines, pairs, table};

#[derive(Clone, Debug, Serialize)]
pub struct Region {
    pub name: String,
    pub display_name: String,
}

impl From<v1::Region> for Region {
    fn from(region: v1::Region) -> Region {
        Region {
            name: region.name,
            display_name: region.display_name,
        }
    }
}

impl Show for Region {
    fn page(&self) -> Page {
        pairs([("region", self.name.clone()), ("name", self.display_name.clone())])
    }
}

#[derive(Debug, Serialize)]
pub struct Regions {
    pub regions: Vec<Region>,
    pub freshness: Freshness,
}

impl Show for Regions {
    fn lines(&self) -> Vec<String> {
        lines(&self.regions)
    }

    fn names(&self) -> Vec<String> {
        self.regions.iter().map(|one| one.name.clone()).collect()
    }

    fn page(&self) -> Page {
        let row = |region: &Region| vec![region.name.clone(), region.display_name.clone()];
        table([col("REGION"), col("NAME")], self.regions.iter().map(row))
    }
}
