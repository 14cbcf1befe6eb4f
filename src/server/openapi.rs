//! The description of the API in OpenAPI 3.1, generated from the handlers.

use super::problem::MEDIA_TYPE;
use super::resource::{ApplicationResource, ContainerResource, NodeResource, Resource, answer, filters};
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

/// Get the description of this API
#[utoipa::path(get, path = "/openapi.json", tag = "daemon",
    responses((status = 200, description = "OpenAPI 3.1 document", body = Object)))]
async fn document(State(api): State<Api>) -> Response {
    answer(StatusCode::OK, api.journal.cluster().seq(), api.document.get().cloned().unwrap_or_default())
}

/// Completes the generated document: general information, operation ids, and the common parameters and responses.
pub(super) fn complete(mut document: OpenApi) -> OpenApi {
    document.info = InfoBuilder::new()
        .title("kDaemon")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Manages containers on plain Docker engines from one event-sourced daemon. Every response has X-KDaemon-Seq and \
             X-Request-Id; commands accept If-Match and Idempotency-Key.",
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
                .description("Problem (RFC 9457)")
                .content(MEDIA_TYPE, ContentBuilder::new().schema(Some(problem)).build())
                .build();
            operation.responses.responses.insert("default".to_owned(), RefOr::T(response));
            describe_headers(operation);
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

/// The methods of each route, comma separated.
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

/// Adds what all commands have in common: their headers, and the response to a dry run.
fn complete_command(operation: &mut Operation) {
    let about_one = has_parameter(operation, "id");
    let header = |name: &str, description: &str| {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        RefOr::T(header.description(Some(description)).schema(Some(text())).build())
    };
    let parameters = operation.parameters.get_or_insert_default();
    parameters.push(header(
        "Idempotency-Key",
        "Key of the request. A repeated request with the key of an earlier one (within 24 hours) has no effect and gets the \
         same response.",
    ));
    if about_one {
        parameters.push(header(
            "If-Match",
            "ETag of the expected version; 412 if the resource has been modified since.",
        ));
    }
    let dry_run = || RefOr::Ref(Ref::from_schema_name(<DryRun>::name()));
    let done = operation.responses.responses.entry("200".to_owned()).or_insert_with(|| {
        RefOr::T(ResponseBuilder::new().description("Dry run: events that would be appended").build())
    });
    let RefOr::T(done) = done else { return };
    let content = done.content.entry("application/json".to_owned());
    let RefOr::T(content) = content.or_insert_with(|| RefOr::T(ContentBuilder::new().build())) else {
        return;
    };
    content.schema = Some(match content.schema.take() {
        Some(row) if row != dry_run() => {
            done.description.push_str("; for a dry run, the events that would be appended");
            RefOr::T(OneOfBuilder::new().item(row).item(dry_run()).into())
        }
        _ => dry_run(),
    });
}

/// Adds the headers that every response has.
fn describe_headers(operation: &mut Operation) {
    let seq = "Seq of the state that the response reflects; for a command, of its last event.";
    let headers = [
        ("X-KDaemon-Seq", Type::Integer, seq),
        (
            "X-Request-Id",
            Type::String,
            "Id of the request: the one in its own X-Request-Id header, or a generated one.",
        ),
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

/// The parameter that describes the filters of a list.
fn filter_of(path: &str) -> Option<Parameter> {
    fn filter<R: Resource>(has_labels: bool) -> Parameter {
        let labels = if has_labels { ", and `label` (`?label=zone=a`, `?label=gpu`)" } else { "" };
        let description = format!(
            "Filters, each of which is a query parameter: `{}`{labels}. A row matches if it has any of the values of a \
             repeated parameter, for all parameters.",
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
        Some(NodeResource::PLURAL) => Some(filter::<NodeResource>(true)),
        Some(ApplicationResource::PLURAL) => Some(filter::<ApplicationResource>(true)),
        Some(ContainerResource::PLURAL) => Some(filter::<ContainerResource>(false)),
        _ => None,
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete].into_iter().flatten()
}
