//! SETTINGS (RFC 9113 §6.5).

use super::{DEFAULT_MAX_FRAME, Kind, LARGEST_WINDOW, put_head};
use crate::http2::error::ConnectionError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::http2) enum Setting {
    HeaderTableSize(u32),
    EnablePush(bool),
    MaxConcurrentStreams(u32),
    InitialWindow(u32),
    MaxFrame(u32),
    MaxHeaderList(u32),
}

impl Setting {
    fn coded(self) -> (u16, u32) {
        match self {
            Setting::HeaderTableSize(size) => (1, size),
            Setting::EnablePush(on) => (2, u32::from(on)),
            Setting::MaxConcurrentStreams(streams) => (3, streams),
            Setting::InitialWindow(size) => (4, size),
            Setting::MaxFrame(size) => (5, size),
            Setting::MaxHeaderList(size) => (6, size),
        }
    }

    /// `None`: one that we do not know.
    fn decode(id: u16, value: u32) -> Result<Option<Self>, ConnectionError> {
        Ok(Some(match id {
            1 => Setting::HeaderTableSize(value),
            2 if value > 1 => return Err(ConnectionError::protocol("ENABLE_PUSH is neither 0 nor 1")),
            2 => Setting::EnablePush(value == 1),
            3 => Setting::MaxConcurrentStreams(value),
            4 if i64::from(value) > LARGEST_WINDOW => {
                return Err(ConnectionError::flow("initial window larger than a window may be"));
            }
            4 => Setting::InitialWindow(value),
            5 if !(DEFAULT_MAX_FRAME as u32..1 << 24).contains(&value) => {
                return Err(ConnectionError::protocol("MAX_FRAME_SIZE that no peer may ask for"));
            }
            5 => Setting::MaxFrame(value),
            6 => Setting::MaxHeaderList(value),
            _ => return Ok(None),
        }))
    }
}

/// The settings of a payload whose length is that of whole settings.
pub(in crate::http2) struct Settings;

impl Settings {
    pub(in crate::http2) fn parse(payload: &[u8]) -> impl Iterator<Item = Result<Setting, ConnectionError>> + use<'_> {
        let (settings, _) = payload.as_chunks::<6>();
        settings.iter().filter_map(|[i0, i1, v0, v1, v2, v3]| {
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            Setting::decode(u16::from_be_bytes([*i0, *i1]), value).transpose()
        })
    }

    pub(in crate::http2) fn put(settings: &[Setting], out: &mut Vec<u8>) {
        put_head(settings.len() * 6, Kind::Settings, 0, 0, out);
        for setting in settings {
            let (id, value) = setting.coded();
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http2::ErrorCode;
    use crate::http2::frame::HEAD;

    #[test]
    fn they_come_back_and_bad_ones_are_refused() {
        let all = [
            Setting::HeaderTableSize(0),
            Setting::EnablePush(false),
            Setting::MaxConcurrentStreams(7),
            Setting::InitialWindow((1 << 31) - 1),
            Setting::MaxFrame((1 << 24) - 1),
            Setting::MaxHeaderList(u32::MAX),
        ];
        let mut out = Vec::new();
        Settings::put(&all, &mut out);
        let parsed: Result<Vec<_>, _> = Settings::parse(&out[HEAD..]).collect();
        assert_eq!(parsed.as_deref(), Ok(&all[..]));
        for (id, value, expected) in [
            (2, 2, Err(ErrorCode::PROTOCOL_ERROR)),
            (4, 1 << 31, Err(ErrorCode::FLOW_CONTROL_ERROR)),
            (5, 16_383, Err(ErrorCode::PROTOCOL_ERROR)),
            (5, 1 << 24, Err(ErrorCode::PROTOCOL_ERROR)),
            (99, 5, Ok(None)),
        ] {
            let got = Setting::decode(id, value).map_err(|error| error.code);
            assert_eq!(got, expected, "{id} = {value}");
        }
    }
}
