//! Reading CBOR from those who know one kind of number: to browsers 1.0 is an integer.

use ciborium::value::{Error, Value};
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

/// Reads one item, and moves behind it. What is a float takes an integer.
pub(crate) fn read<T: DeserializeOwned>(bytes: &mut &[u8]) -> Result<T, String> {
    let whole = *bytes;
    ciborium::from_reader(&mut *bytes).or_else(|error| {
        // Values take many times the memory of their bytes.
        if whole.len() > MAX_BYTES {
            return Err(error.to_string());
        }
        *bytes = whole;
        let value = ciborium::from_reader(bytes).map_err(|_| error.to_string())?;
        T::deserialize(Lenient(value)).map_err(|_| error.to_string())
    })
}

/// Larger items are read strictly.
const MAX_BYTES: usize = 1 << 20;

struct Lenient(Value);

impl<'de> IntoDeserializer<'de, Error> for Lenient {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

fn entries(map: Vec<(Value, Value)>) -> impl Iterator<Item = (Lenient, Lenient)> {
    map.into_iter().map(|(key, value)| (Lenient(key), Lenient(value)))
}

impl<'de> Deserializer<'de> for Lenient {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Integer(number) => match (u64::try_from(number), i64::try_from(number)) {
                (Ok(number), _) => visitor.visit_u64(number),
                (_, Ok(number)) => visitor.visit_i64(number),
                _ => visitor.visit_i128(number.into()),
            },
            Value::Float(number) => visitor.visit_f64(number),
            Value::Bool(is) => visitor.visit_bool(is),
            Value::Null => visitor.visit_unit(),
            Value::Bytes(bytes) => visitor.visit_byte_buf(bytes),
            Value::Text(text) => visitor.visit_string(text),
            Value::Tag(_, value) => Self(*value).deserialize_any(visitor),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(Lenient)))
            }
            Value::Map(map) => visitor.visit_map(MapDeserializer::new(entries(map))),
            _ => Err(serde::de::Error::custom("an item of an unknown kind")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Text(variant) => visitor.visit_enum(variant.into_deserializer()),
            Value::Map(map) => {
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(entries(map))))
            }
            _ => Err(serde::de::Error::custom("no variant of an enum")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Dot,
        Circle(f64),
        Box { width: f32, height: Option<f32> },
        Line(f64, f64),
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Drawing {
        shapes: Vec<Shape>,
        named: BTreeMap<String, f64>,
        count: i32,
    }

    /// As a browser would write it.
    fn rounded(value: Value) -> Value {
        match value {
            Value::Float(number) if number.fract() == 0.0 => Value::Integer((number as i64).into()),
            Value::Array(items) => Value::Array(items.into_iter().map(rounded).collect()),
            Value::Map(map) => {
                Value::Map(map.into_iter().map(|(k, v)| (rounded(k), rounded(v))).collect())
            }
            other => other,
        }
    }

    #[test]
    fn integers_are_taken_for_floats_wherever_they_stand() {
        let drawing = Drawing {
            shapes: vec![
                Shape::Dot,
                Shape::Circle(2.0),
                Shape::Box { width: 3.0, height: Some(-4.0) },
                Shape::Box { width: 3.5, height: None },
                Shape::Line(0.0, 1.5),
            ],
            named: [("one".to_owned(), 1.0)].into(),
            count: -7,
        };
        let mut bytes = Vec::new();
        let value = rounded(Value::serialized(&drawing).unwrap());
        ciborium::into_writer(&value, &mut bytes).unwrap();
        bytes.push(0xf6);
        let mut rest = &bytes[..];
        assert_eq!(read::<Drawing>(&mut rest), Ok(drawing));
        assert_eq!(rest, [0xf6]);
        assert!(read::<f64>(&mut &[0x61, b'x'][..]).is_err());
        assert!(
            read::<u8>(&mut &[0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0][..]).is_err(),
            "not the other way"
        );
    }
}
