//! The access log: to the file the mesh names, in the default format, the user's, or JSON.

use model::kinds::MeshConfig;
use model::kinds::mesh_config::AccessLogEncoding;

use model::mesh::ConfigRef;

use crate::TranslateError;
use crate::format;
use crate::pb::accesslog::{AccessLog, access_log};
use crate::pb::accesslog_file::{FileAccessLog, file_access_log::AccessLogFormat};
use crate::pb::core::substitution_format_string::Format;
use crate::pb::core::{DataSource, SubstitutionFormatString, data_source::Specifier};
use crate::pb::{self, google};

const NAME: &str = "envoy.access_loggers.file";

const DEFAULT_TEXT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_FLAGS% ",
    "%RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\" ",
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" ",
    "\"%REQ(USER-AGENT)%\" \"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" %UPSTREAM_CLUSTER_RAW% ",
    "%UPSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS% %REQUESTED_SERVER_NAME% ",
    "%ROUTE_NAME%\n",
);

const DEFAULT_JSON: [(&str, &str); 24] = [
    ("start_time", "%START_TIME%"),
    ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"),
    ("protocol", "%PROTOCOL%"),
    ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"),
    ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"),
    (
        "upstream_transport_failure_reason",
        "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
    ),
    ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"),
    ("duration", "%DURATION%"),
    ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"),
    ("user_agent", "%REQ(USER-AGENT)%"),
    ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"),
    ("upstream_host", "%UPSTREAM_HOST%"),
    ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"),
    ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"),
    ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("route_name", "%ROUTE_NAME%"),
];

/// What is wrong with the mesh's own format, for which the default is used instead.
pub(super) fn mistake(mesh: &MeshConfig) -> Option<TranslateError> {
    let own = mesh.access_log_format.as_str();
    if mesh.access_log_file.is_empty() || own.is_empty() {
        return None;
    }
    let rule = match mesh.access_log_encoding {
        AccessLogEncoding::Text => format!("it asks for %{}%, which no proxy knows", format::first_mistake(own)?),
        AccessLogEncoding::Json => match own_json(own) {
            Ok(_) => return None,
            Err(rule) => rule,
        },
    };
    let object = ConfigRef {
        kind: "MeshConfig".into(),
        namespace: mesh.root_namespace.as_str().into(),
        name: "istio".into(),
    };
    let rule = format!("accessLogFormat is left out: {rule}");
    Some(TranslateError::new(
        &object,
        rule,
        "correct it; until then the default format is written",
    ))
}

/// Nothing, if the mesh names no file.
pub(super) fn of(mesh: &MeshConfig) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let config = FileAccessLog {
        path: mesh.access_log_file.clone(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(log_format(mesh)),
            ..Default::default()
        })),
    };
    vec![AccessLog {
        name: NAME.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(pb::any(&config))),
        ..Default::default()
    }]
}

fn log_format(mesh: &MeshConfig) -> Format {
    match mesh.access_log_encoding {
        AccessLogEncoding::Text => Format::TextFormatSource(DataSource {
            specifier: Some(Specifier::InlineString(text(&mesh.access_log_format))),
            ..Default::default()
        }),
        AccessLogEncoding::Json => Format::JsonFormat(json(&mesh.access_log_format)),
    }
}

fn text(own: &str) -> String {
    match own {
        own if own.is_empty() || format::first_mistake(own).is_some() => DEFAULT_TEXT.to_owned(),
        own if own.ends_with('\n') => own.to_owned(),
        own => format!("{own}\n"),
    }
}

/// The user's object, or the default.
fn json(own: &str) -> google::Struct {
    match own_json(own) {
        Ok(fields) => structure(&fields),
        Err(_) => pb::object(DEFAULT_JSON.iter().map(|(key, value)| (*key, pb::text(*value)))),
    }
}

fn own_json(own: &str) -> Result<serde_json::Map<String, serde_json::Value>, String> {
    let fields = match serde_json::from_str(own) {
        Ok(serde_json::Value::Object(fields)) => fields,
        Ok(_) => return Err("it is no JSON object".to_owned()),
        Err(error) => return Err(format!("it is no JSON object ({error})")),
    };
    match fields.values().find_map(mistake_in) {
        Some(command) => Err(format!("it asks for %{command}%, which no proxy knows")),
        None => Ok(fields),
    }
}

fn mistake_in(value: &serde_json::Value) -> Option<&str> {
    match value {
        serde_json::Value::String(text) => format::first_mistake(text),
        serde_json::Value::Object(fields) => fields.values().find_map(mistake_in),
        serde_json::Value::Array(values) => values.iter().find_map(mistake_in),
        _ => None,
    }
}

fn structure(fields: &serde_json::Map<String, serde_json::Value>) -> google::Struct {
    google::Struct {
        fields: fields.iter().map(|(key, field)| (key.clone(), value(field))).collect(),
    }
}

fn value(field: &serde_json::Value) -> google::Value {
    use google::value::Kind;
    let kind = match field {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(value) => Kind::BoolValue(*value),
        serde_json::Value::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Object(fields) => Kind::StructValue(structure(fields)),
        serde_json::Value::Array(values) => Kind::ListValue(google::ListValue {
            values: values.iter().map(value).collect(),
        }),
    };
    google::Value { kind: Some(kind) }
}
