//! A gateway in axum's and hyper's own terms: each request goes to another server, bodies both ways as they come.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName};
use axum::http::uri::{Authority, Scheme};
use axum::http::{StatusCode, Uri, Version};
use axum::response::{IntoResponse, Response};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;

#[derive(Clone)]
struct Gateway {
    client: Client<HttpConnector, Body>,
    upstream: Authority,
}

pub fn router(upstream: Authority) -> Router {
    let client = Client::builder(TokioExecutor::new()).build_http();
    Router::new().fallback(pass).with_state(Gateway { client, upstream })
}

async fn pass(State(gateway): State<Gateway>, mut request: Request) -> Response {
    let mut target = std::mem::take(request.uri_mut()).into_parts();
    target.scheme = Some(Scheme::HTTP);
    target.authority = Some(gateway.upstream);
    let Ok(target) = Uri::from_parts(target) else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = target;
    *request.version_mut() = Version::HTTP_11;
    drop_hop_by_hop(request.headers_mut());
    match gateway.client.request(request).await {
        Ok(mut response) => {
            drop_hop_by_hop(response.headers_mut());
            response.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, format!("The upstream server: {error}\n")).into_response(),
    }
}

/// Removes what is between two neighbours only (RFC 9110 §7.6.1).
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(HOP_BY_HOP) {
        headers.remove(name);
    }
}

const HOP_BY_HOP: &[HeaderName] =
    &[header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE, header::EXPECT];
