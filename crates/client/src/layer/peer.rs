//! Who sent a request, as its server says.

use std::net::IpAddr;

use http::Extensions;

use crate::select::Peer;

pub(super) fn of(extensions: &Extensions) -> Option<IpAddr> {
    let said = extensions.get::<Peer>().map(|peer| peer.0);
    said.or_else(|| axum(extensions))
        .or_else(|| super::grpc::peer(extensions))
}

#[cfg(feature = "axum")]
fn axum(extensions: &Extensions) -> Option<IpAddr> {
    let connected = extensions.get::<axum::extract::ConnectInfo<std::net::SocketAddr>>();
    connected.map(|info| info.0.ip())
}

#[cfg(not(feature = "axum"))]
fn axum(_: &Extensions) -> Option<IpAddr> {
    None
}
