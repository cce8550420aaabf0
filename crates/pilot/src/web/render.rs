//! Messages as JSON.
//!
//! The descriptors that this needs take 19 MB: they are built for each answer, by one at a time, and dropped with it.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prost_reflect::{DynamicMessage, SerializeOptions};

use super::{Web, refuse};

/// Messages of one type, each as JSON; a list if there are several.
pub(super) struct Rendering {
    /// Full name of the type.
    pub(super) message: &'static str,
    pub(super) encoded: Vec<Vec<u8>>,
    pub(super) list: bool,
}

pub(super) async fn answer(web: &Web, rendering: Rendering) -> Response {
    // The semaphore is never closed.
    let _permit = web.renderer.acquire().await;
    match tokio::task::spawn_blocking(move || rendering.json()).await {
        Ok(Ok(json)) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Ok(Err(error)) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
        Err(error) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

// === impl Rendering ===

impl Rendering {
    fn json(&self) -> Result<Vec<u8>, String> {
        let pool = proto::descriptors::pool().map_err(|error| error.to_string())?;
        let descriptor = pool.get_message_by_name(self.message).ok_or_else(|| format!("no message {}", self.message))?;
        let mut out = Vec::new();
        if self.list {
            out.push(b'[');
        }
        for (i, encoded) in self.encoded.iter().enumerate() {
            if i > 0 {
                out.extend(b",\n");
            }
            let message = DynamicMessage::decode(descriptor.clone(), encoded.as_slice());
            let message = message.map_err(|error| error.to_string())?;
            let options = SerializeOptions::new().use_proto_field_name(true).skip_default_fields(true);
            let mut serializer = serde_json::Serializer::new(&mut out);
            message.serialize_with_options(&mut serializer, &options).map_err(|error| error.to_string())?;
        }
        if self.list {
            out.push(b']');
        }
        out.push(b'\n');
        Ok(out)
    }
}

/// Seconds since the epoch.
pub(super) fn time(moment: SystemTime) -> f64 {
    moment.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
