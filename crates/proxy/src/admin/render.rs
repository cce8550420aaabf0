//! The child that prints a configuration dump: reads messages from its input, writes JSON to its output, and is gone, with the descriptors it
//! needed.

mod mend;

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::ExitCode;

use prost::Message;
use prost_reflect::{DescriptorPool, SerializeOptions};
use proto::envoy::envoy::admin::v3::ConfigDump;
use proto::envoy::google::protobuf::Any;
use serde_json::{Value, json};

/// How an executable of ours is asked to be the child.
pub const COMMAND: [&str; 2] = ["proxy", "render-config-dump"];

/// What the child is given.
pub(super) struct Input {
    /// The bootstrap's text, if it is to be shown.
    pub(super) bootstrap: Option<String>,
    pub(super) started: String,
    pub(super) configs: Vec<Any>,
}

/// Largest dump that is taken.
const MAX_INPUT: u64 = 1 << 30;
const BOOTSTRAP_TYPE: &str = "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump";

/// `proxy render-config-dump`: from standard input to standard output.
pub fn main(_: Vec<OsString>) -> ExitCode {
    let mut bytes = Vec::new();
    let result = std::io::stdin()
        .take(MAX_INPUT)
        .read_to_end(&mut bytes)
        .map_err(anyhow::Error::from)
        .and_then(|_| render(&bytes))
        .and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("render-config-dump: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The dump as JSON text.
pub(super) fn render(bytes: &[u8]) -> anyhow::Result<String> {
    let input = Input::decode(bytes)?;
    let pool = proto::descriptors::pool()?;
    let mut configs = Vec::new();
    if let Some(text) = &input.bootstrap {
        let bootstrap: Value = serde_json::from_str(text)?;
        configs.push(json!({ "@type": BOOTSTRAP_TYPE, "bootstrap": bootstrap, "last_updated": input.started }));
    }
    configs.extend(input.configs.iter().map(|config| json_of(&pool, config)));
    Ok(serde_json::to_string_pretty(&json!({ "configs": configs }))?)
}

/// A part that cannot be printed says why in its place.
fn json_of(pool: &DescriptorPool, config: &Any) -> Value {
    let printed = try_json(pool, config);
    printed.unwrap_or_else(|error| json!({ "@type": config.type_url, "error": format!("{error:#}") }))
}

fn try_json(pool: &DescriptorPool, config: &Any) -> anyhow::Result<Value> {
    let mut message = mend::open(pool, &config.type_url, &config.value)?;
    mend::mend(pool, &mut message);
    let options = SerializeOptions::new()
        .use_proto_field_name(true)
        .skip_default_fields(true);
    let mut value = message.serialize_with_options(serde_json::value::Serializer, &options)?;
    if let Value::Object(fields) = &mut value {
        fields.shift_insert(0, "@type".to_owned(), config.type_url.as_str().into());
    }
    Ok(value)
}

// === impl Input ===

impl Input {
    /// Two texts with their lengths, then the messages.
    pub(super) fn encode(&self) -> Vec<u8> {
        let bootstrap = self.bootstrap.as_deref().unwrap_or_default();
        let mut bytes = Vec::new();
        for text in [bootstrap, &self.started] {
            let length = u32::try_from(text.len()).unwrap_or(0);
            bytes.extend(length.to_be_bytes());
            bytes.extend(text.as_bytes());
        }
        bytes.extend(
            ConfigDump {
                configs: self.configs.clone(),
            }
            .encode_to_vec(),
        );
        bytes
    }

    fn decode(mut bytes: &[u8]) -> anyhow::Result<Input> {
        let bootstrap = text(&mut bytes)?;
        let started = text(&mut bytes)?;
        let configs = ConfigDump::decode(bytes)?.configs;
        Ok(Input {
            bootstrap: (!bootstrap.is_empty()).then_some(bootstrap),
            started,
            configs,
        })
    }
}

fn text(bytes: &mut &[u8]) -> anyhow::Result<String> {
    let cut = || anyhow::anyhow!("the input is cut off; this command is for the proxy's own use");
    let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
    let (text, rest) = rest
        .split_at_checked(u32::from_be_bytes(*length) as usize)
        .ok_or_else(cut)?;
    *bytes = rest;
    Ok(std::str::from_utf8(text)?.to_owned())
}
