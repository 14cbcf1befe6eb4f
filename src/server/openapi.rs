//! The description of the API: OpenAPI 3.1, made from the handlers themselves.

use super::problem::MEDIA_TYPE;
use super::resource::{Applications, Containers, Nodes, Resource, answer, filters};
use super::{Api, Routes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use kdaemon_api::{DryRun, ProblemDetails};
use std::collections::BTreeMap;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn, ParameterStyle, PathItem};
use utoipa::openapi::schema::{AdditionalProperties, ObjectBuilder, Type};
use utoipa::openapi::{
    ContentBuilder, HeaderBuilder, InfoBuilder, OneOfBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Schema,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

pub(super) fn routes() -> Routes {
    vec![routes!(document)]
}

/// The description of this API
#[utoipa::path(get, path = "/openapi.json", tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)))]
async fn document(State(api): State<Api>) -> Response {
    answer(StatusCode::OK, api.journal.cluster().seq(), api.document.get().cloned().unwrap_or_default())
}

/// Completes the document: who we are, a name for each operation, and what all of them have in common.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("kDaemon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Containers over plain Docker engines, from one daemon whose log is the cluster. Every answer carries \
             X-KDaemon-Seq and X-Request-Id; commands take If-Match and Idempotency-Key.",
        ))
        .build();
    let components = document.components.get_or_insert_default();
    components.schemas.insert(ProblemDetails::name().into_owned(), ProblemDetails::schema());
    let mut referenced = Vec::new();
    ProblemDetails::schemas(&mut referenced);
    components.schemas.extend(referenced);
    for (path, item) in &mut document.paths.paths {
        for operation in operations(item) {
            if has_parameter(operation, "dry_run") {
                complete_command(operation);
            }
            let problem = RefOr::Ref(Ref::from_schema_name(ProblemDetails::name()));
            let response = ResponseBuilder::new()
                .description("What was wrong (RFC 9457)")
                .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(problem)).build())
                .build();
            operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
            tell_headers(operation);
            // Handlers are named within their resource: `create` of nodes is `nodes_create`.
            let tag = operation.tags.iter().flatten().next().cloned().unwrap_or_default();
            operation.operation_id = operation.operation_id.take().map(|name| format!("{tag}_{name}"));
        }
        if let (Some(filter), Some(list)) = (filter_of(path), &mut item.get) {
            list.parameters.get_or_insert_default().push(RefOr::T(filter));
        }
    }
    document
}

/// The methods of each route, in words.
pub(super) fn methods(document: &OpenApi) -> BTreeMap<String, String> {
    let of = |item: &PathItem| {
        let known = [
            ("GET, HEAD", item.get.is_some()),
            ("POST", item.post.is_some()),
            ("PATCH", item.patch.is_some()),
            ("DELETE", item.delete.is_some()),
        ];
        let has: Vec<_> = known.into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect();
        has.join(", ")
    };
    document.paths.paths.iter().map(|(path, item)| (path.clone(), of(item))).collect()
}

fn text() -> RefOr<Schema> {
    RefOr::T(ObjectBuilder::new().schema_type(Type::String).into())
}

fn has_parameter(operation: &Operation, name: &str) -> bool {
    let is_it = |parameter: &RefOr<Parameter>| match parameter {
        RefOr::T(parameter) => parameter.name == name,
        RefOr::Ref(_) => false,
    };
    operation.parameters.iter().flatten().any(is_it)
}

/// What holds for every command: its headers, and that a dry run answers 200 with the events.
fn complete_command(operation: &mut Operation) {
    let about_one = has_parameter(operation, "id");
    let header = |name: &str, description: &str| {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        RefOr::T(header.description(Some(description)).schema(Some(text())).build())
    };
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(header(
        "Idempotency-Key",
        "The same key within 24 hours answers as the first time and does nothing again.",
    ));
    if about_one {
        parameters.push(header(
            "If-Match",
            "The ETag of the version that is meant: 412 when it has changed since.",
        ));
    }
    let dry_run = || RefOr::Ref(Ref::from_schema_name(<DryRun>::name()));
    let done = operation.responses.responses.entry("200".to_owned()).or_insert_with(|| {
        RefOr::T(ResponseBuilder::new().description("What a dry run would append").build())
    });
    let RefOr::T(done) = done else { return };
    let content = done.content.entry("application/json".to_owned());
    let RefOr::T(content) = content.or_insert_with(|| RefOr::T(ContentBuilder::new().build())) else {
        return;
    };
    content.schema = Some(match content.schema.take() {
        Some(row) if row != dry_run() => {
            done.description.push_str("; of a dry run: what it would append");
            RefOr::T(OneOfBuilder::new().item(row).item(dry_run()).into())
        }
        _ => dry_run(),
    });
}

/// Every answer has these headers.
fn tell_headers(operation: &mut Operation) {
    let seq = "The seq of the state that this shows; of a command, that of its last event.";
    let headers = [
        ("X-KDaemon-Seq", Type::Integer, seq),
        ("X-Request-Id", Type::String, "The request's id: that of the request's own header, or a new one."),
    ];
    for response in operation.responses.responses.values_mut() {
        let RefOr::T(response) = response else { continue };
        for (name, kind, description) in &headers {
            let schema = ObjectBuilder::new().schema_type(kind.clone());
            let header = HeaderBuilder::new().schema(Some(schema)).description(Some(*description)).build();
            response.headers.insert((*name).to_owned(), RefOr::T(header));
        }
    }
}

/// The filters of a list, which are its rows' fields.
fn filter_of(path: &str) -> Option<Parameter> {
    fn filter<R: Resource>(has_labels: bool) -> Parameter {
        let labels = if has_labels { "; and `label`, as in `?label=zone=a` or `?label=gpu`" } else { "" };
        let description = format!(
            "Filters, each a query parameter of its own; several values of one mean any of them, several filters \
             all of them: `{}`{labels}.",
            filters::<R>().into_keys().collect::<Vec<_>>().join("`, `")
        );
        let schema =
            ObjectBuilder::new().additional_properties(Some(AdditionalProperties::RefOr(text()))).build();
        ParameterBuilder::new()
            .name("filter")
            .parameter_in(ParameterIn::Query)
            .style(Some(ParameterStyle::Form))
            .explode(Some(true))
            .description(Some(description))
            .schema(Some(schema))
            .build()
    }
    match path.rsplit('/').next() {
        Some(Nodes::PLURAL) => Some(filter::<Nodes>(true)),
        Some(Applications::PLURAL) => Some(filter::<Applications>(true)),
        Some(Containers::PLURAL) => Some(filter::<Containers>(false)),
        _ => None,
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}
