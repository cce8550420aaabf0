//! A deserializer with no input that writes down what a type asks for.

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor, value::Error,
};
use serde::forward_to_deserialize_any;

use super::{Leaf, Shape};

/// Panics only if a kind's own `Deserialize` refuses one of each field, which the tests of this crate would show.
pub(super) fn trace<'de, T: Deserialize<'de>>() -> Shape {
    let mut shape = Shape::Leaf(Leaf::Any);
    T::deserialize(Tracer { shape: &mut shape }).expect("every kind accepts the tracer's answers");
    shape
}

struct Tracer<'a> {
    shape: &'a mut Shape,
}

/// Notes a leaf and answers with a value of its type.
macro_rules! leaf {
    ($($method:ident: $leaf:ident => $visit:ident($value:expr),)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            *self.shape = Shape::Leaf(Leaf::$leaf);
            visitor.$visit($value)
        })*
    };
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = Error;

    fn is_human_readable(&self) -> bool {
        false
    }

    leaf! {
        deserialize_any: Any => visit_str(""),
        deserialize_bool: Bool => visit_bool(false),
        deserialize_i8: Integer => visit_i8(0),
        deserialize_i16: Integer => visit_i16(0),
        deserialize_i32: Integer => visit_i32(0),
        deserialize_i64: Integer => visit_i64(0),
        deserialize_u8: Integer => visit_u8(0),
        deserialize_u16: Integer => visit_u16(0),
        deserialize_u32: Integer => visit_u32(0),
        deserialize_u64: Integer => visit_u64(0),
        deserialize_f32: Number => visit_f32(0.0),
        deserialize_f64: Number => visit_f64(0.0),
        deserialize_char: Text => visit_char('x'),
        deserialize_str: Text => visit_str(""),
        deserialize_string: Text => visit_str(""),
        deserialize_identifier: Text => visit_str(""),
    }

    forward_to_deserialize_any! { bytes byte_buf unit unit_struct tuple tuple_struct ignored_any }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    /// Only durations are newtypes.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        *self.shape = Shape::Leaf(Leaf::Duration);
        visitor.visit_newtype_struct(StrDeserializer::new("0s"))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::Leaf(Leaf::Any);
        let value = visitor.visit_seq(One {
            shape: &mut item,
            left: true,
        })?;
        *self.shape = Shape::List(Box::new(item));
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let mut item = Shape::Leaf(Leaf::Any);
        let value = visitor.visit_map(One {
            shape: &mut item,
            left: true,
        })?;
        *self.shape = Shape::Map(Box::new(item));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        names: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let mut fields = Vec::with_capacity(names.len());
        let value = visitor.visit_map(Fields {
            names: names.iter(),
            fields: &mut fields,
        })?;
        *self.shape = Shape::Message { name, fields };
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.shape = Shape::Enum(words);
        visitor.visit_enum(Word(words.first().copied().unwrap_or_default()))
    }
}

/// One item of a list, or one entry of a map.
struct One<'a> {
    shape: &'a mut Shape,
    left: bool,
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if !std::mem::take(&mut self.left) {
            return Ok(None);
        }
        seed.deserialize(Tracer { shape: self.shape }).map(Some)
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        if !std::mem::take(&mut self.left) {
            return Ok(None);
        }
        let mut key = Shape::Leaf(Leaf::Any);
        seed.deserialize(Tracer { shape: &mut key }).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        seed.deserialize(Tracer { shape: self.shape })
    }
}

/// Every field of a struct, once.
struct Fields<'a> {
    names: std::slice::Iter<'static, &'static str>,
    fields: &'a mut Vec<(&'static str, Shape)>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Error> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.fields.push((name, Shape::Leaf(Leaf::Any)));
        seed.deserialize((*name).into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let (_, shape) = self.fields.last_mut().expect("a value follows its key");
        seed.deserialize(Tracer { shape })
    }
}

/// The first word of an enum.
struct Word(&'static str);

impl<'de> EnumAccess<'de> for Word {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Error> {
        let value = seed.deserialize(self.0.into_deserializer())?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Word {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        Ok(())
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Error> {
        let mut inner = Shape::Leaf(Leaf::Any);
        seed.deserialize(Tracer { shape: &mut inner })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }
}
