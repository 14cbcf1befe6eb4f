//! The description of the API: OpenAPI 3.1, made from the handlers themselves.

use super::Api;
use super::problem::{MEDIA_TYPE, ProblemBody};
use super::resource::{answer, json};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use std::sync::OnceLock;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{ContentBuilder, InfoBuilder, OpenApi, Ref, RefOr, ResponseBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(document))
}

/// The description of this API
#[utoipa::path(get, path = "/openapi.json", tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document(State(api): State<Api>) -> Response {
    answer(StatusCode::OK, api.journal.cluster().seq(), api.document.get().cloned().unwrap_or_default())
}

/// Completes the document: who we are, a name for each operation, and that each may answer a problem.
pub(super) fn complete(mut document: OpenApi, into: &OnceLock<bytes::Bytes>) {
    document.info = InfoBuilder::new()
        .title("kDaemon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Containers over plain Docker engines, from one daemon whose log is the cluster. Every answer carries \
             X-KDaemon-Seq and X-Request-Id; commands take If-Match and Idempotency-Key.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.schemas.insert(ProblemBody::name().into_owned(), ProblemBody::schema());
    let mut referenced = Vec::new();
    ProblemBody::schemas(&mut referenced);
    components.schemas.extend(referenced);
    for item in document.paths.paths.values_mut() {
        for operation in operations(item) {
            let problem = RefOr::Ref(Ref::from_schema_name(ProblemBody::name()));
            let response = ResponseBuilder::new()
                .description("What was wrong (RFC 9457)")
                .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(problem)).build())
                .build();
            operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
            // Handlers are named within their resource: `create` of nodes is `nodes_create`.
            let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            operation.operation_id = operation.operation_id.take().map(|name| format!("{tag}_{name}"));
        }
    }
    let _ = into.set(json(&document).into()); // made once
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}
