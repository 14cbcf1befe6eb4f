//! The id of a request: the one that the client sent, or a generated one.

use super::REQUEST_ID_HEADER;
use axum::extract::Request;
use axum::http::Extensions;
use kdaemon_events::RequestId;
use uuid::Uuid;

/// Maximum length of a request id from a client, in characters. A longer one is replaced.
const LIMIT: usize = 128;

/// Assigns the request its id, which [`request_id`] reads later.
pub(super) fn assign(request: &mut Request) -> String {
    let given = request.headers().get(&REQUEST_ID_HEADER).and_then(|value| value.to_str().ok());
    let valid = given.filter(|id| (1..=LIMIT).contains(&id.len()) && !id.contains('\t'));
    let id = valid.map_or_else(|| Uuid::new_v4().to_string(), ToOwned::to_owned);
    request.extensions_mut().insert(RequestId(id.clone()));
    id
}

/// The id of a request that has passed [`super::guard`].
pub(super) fn request_id(extensions: &Extensions) -> RequestId {
    extensions.get::<RequestId>().cloned().unwrap_or_else(|| RequestId(Uuid::new_v4().to_string()))
}
