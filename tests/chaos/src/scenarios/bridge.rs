//! Leader and follower reach each other only through a third node: nobody is told what is not so, and a majority
//! that exists is found.

use anyhow::Result;

use crate::faults::Fault;

pub async fn play() -> Result<()> {
    super::as_one_copy(11, &[Fault::Bridge; 3]).await
}
