//! Access logs. Equal settings share one log: its file, its buffers and its parsed format.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use proto::envoy::envoy::config::accesslog::v3::{
    AccessLog as Message, AccessLogFilter, access_log::ConfigType, access_log_filter::FilterSpecifier,
};
use proto::envoy::envoy::config::core::v3::{
    SubstitutionFormatString, substitution_format_string::Format as FormatMessage,
};
use proto::envoy::envoy::extensions::access_loggers::file::v3::{FileAccessLog, file_access_log::AccessLogFormat};
use proto::envoy::envoy::extensions::access_loggers::stream::v3::{
    StderrAccessLog, StdoutAccessLog, stderr_access_log, stdout_access_log,
};
use proto::envoy::google::protobuf::Any;
use xxhash_rust::xxh3::xxh3_64;

use super::Context;
use super::error::{CompileError, Compiled, Within, each};
use super::value::{data, holds, json, short, unpack};
use crate::telemetry::{AccessLog, Format};

/// Every log there has been. Few settings exist, and a worker's buffers are found by a log's number: logs are kept.
#[derive(Default)]
pub(super) struct Logs(RefCell<HashMap<u64, Arc<AccessLog>>>);

/// What a log is for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    /// Requests, or connections of a chain.
    Chain,
    /// Connections that no chain took.
    Listener,
}

pub(super) fn access_logs(messages: Vec<Message>, place: Place, context: &Context) -> Compiled<Vec<Arc<AccessLog>>> {
    each("access_log", messages, |message| access_log(message, place, context))
}

fn access_log(message: Message, place: Place, context: &Context) -> Compiled<Arc<AccessLog>> {
    if let Some(filter) = message.filter {
        check_filter(filter, place).within("filter")?;
    }
    let Some(ConfigType::TypedConfig(any)) = message.config_type else {
        return Err(CompileError::missing("typed_config"));
    };
    let key = xxh3_64(&[any.type_url.as_bytes(), &any.value].concat());
    if let Some(log) = context.logs.0.borrow().get(&key) {
        return Ok(log.clone());
    }
    let log = Arc::new(open(&any).within(&message.name)?);
    context.logs.0.borrow_mut().insert(key, log.clone());
    Ok(log)
}

/// A log of unmatched connections sees nothing but those, so the filter that asks for them has nothing to do.
fn check_filter(filter: AccessLogFilter, place: Place) -> Compiled<()> {
    match filter.filter_specifier {
        None => Ok(()),
        Some(FilterSpecifier::ResponseFlagFilter(flags)) if place == Place::Listener && flags.flags == ["NR"] => Ok(()),
        Some(_) => Err(CompileError::unsupported("")),
    }
}

fn open(any: &Any) -> Compiled<AccessLog> {
    let (path, format) = if holds::<FileAccessLog>(any) {
        let message: FileAccessLog = unpack(any)?;
        (message.path, file_format(message.access_log_format)?)
    } else if holds::<StdoutAccessLog>(any) {
        let message: StdoutAccessLog = unpack(any)?;
        let format = message
            .access_log_format
            .map(|stdout_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stdout".to_owned(), substitution(format)?)
    } else if holds::<StderrAccessLog>(any) {
        let message: StderrAccessLog = unpack(any)?;
        let format = message
            .access_log_format
            .map(|stderr_access_log::AccessLogFormat::LogFormat(format)| format);
        ("/dev/stderr".to_owned(), substitution(format)?)
    } else {
        return Err(CompileError::unsupported(short(&any.type_url)));
    };
    AccessLog::file(&path, format).map_err(|error| CompileError::new("path", format!("{path}: {error}")))
}

fn file_format(format: Option<AccessLogFormat>) -> Compiled<Format> {
    match format {
        Some(AccessLogFormat::LogFormat(format)) => substitution(Some(format)),
        Some(AccessLogFormat::Format(text)) => parsed(Format::text(&text)),
        Some(AccessLogFormat::JsonFormat(fields) | AccessLogFormat::TypedJsonFormat(fields)) => {
            parsed(Format::json(&json(&fields)))
        }
        None => Ok(Format::default_text()),
    }
}

/// Formatter extensions need no mention: their commands are known, or the format does not parse.
fn substitution(format: Option<SubstitutionFormatString>) -> Compiled<Format> {
    match format.and_then(|format| format.format) {
        Some(FormatMessage::TextFormat(text)) => parsed(Format::text(&text)),
        Some(FormatMessage::JsonFormat(fields)) => parsed(Format::json(&json(&fields))),
        Some(FormatMessage::TextFormatSource(source)) => {
            let text =
                String::from_utf8(data(source)?).map_err(|_| CompileError::new("text_format_source", "is no text"))?;
            parsed(Format::text(&text))
        }
        None => Ok(Format::default_text()),
    }
}

fn parsed(format: Result<Format, String>) -> Compiled<Format> {
    format.map_err(|fault| CompileError::new("log_format", fault))
}
