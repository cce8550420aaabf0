//! The access log: to the file the mesh names, in the default format, the user's, or JSON.

use model::kinds::MeshConfig;
use model::kinds::mesh_config::AccessLogEncoding;

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

/// Nothing, if the mesh names no file.
pub(super) fn of(mesh: &MeshConfig) -> Vec<AccessLog> {
    if mesh.access_log_file.is_empty() {
        return Vec::new();
    }
    let config = FileAccessLog {
        path: mesh.access_log_file.clone(),
        access_log_format: Some(AccessLogFormat::LogFormat(SubstitutionFormatString {
            format: Some(format(mesh)),
            ..Default::default()
        })),
    };
    vec![AccessLog {
        name: NAME.to_owned(),
        config_type: Some(access_log::ConfigType::TypedConfig(pb::any(&config))),
        ..Default::default()
    }]
}

fn format(mesh: &MeshConfig) -> Format {
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
        "" => DEFAULT_TEXT.to_owned(),
        own if own.ends_with('\n') => own.to_owned(),
        own => format!("{own}\n"),
    }
}

/// The user's object; the default if there is none or it is not one (reading the mesh's settings has reported that).
fn json(own: &str) -> google::Struct {
    match serde_json::from_str(own) {
        Ok(serde_json::Value::Object(fields)) => structure(&fields),
        _ => pb::object(DEFAULT_JSON.iter().map(|(key, value)| (*key, pb::text(*value)))),
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
