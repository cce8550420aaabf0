//! Frames are copied straight into tonic's buffer; requests are read by their generated types.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use crate::server::Frame;

/// Reads requests of type `R`, writes frames.
pub(super) struct FrameCodec<R>(PhantomData<fn() -> R>);

pub(super) struct Frames;

pub(super) struct Requests<R>(PhantomData<fn() -> R>);

impl<R> Default for FrameCodec<R> {
    fn default() -> Self {
        FrameCodec(PhantomData)
    }
}

impl<R: Message + Default + 'static> Codec for FrameCodec<R> {
    type Encode = Frame;
    type Decode = R;
    type Encoder = Frames;
    type Decoder = Requests<R>;

    fn encoder(&mut self) -> Frames {
        Frames
    }

    fn decoder(&mut self) -> Requests<R> {
        Requests(PhantomData)
    }
}

impl Encoder for Frames {
    type Item = Frame;
    type Error = Status;

    fn encode(&mut self, frame: Frame, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(frame.encoded_len());
        frame.encode(buf);
        Ok(())
    }
}

impl<R: Message + Default> Decoder for Requests<R> {
    type Item = R;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<R>, Status> {
        match R::decode(buf) {
            Ok(request) => Ok(Some(request)),
            Err(error) => Err(Status::invalid_argument(format!("not a discovery request: {error}"))),
        }
    }
}
