//! The small objects and scalar values of server messages, as serde reads them: borrowed wherever JSON allows.
//!
//! Runs in: the gemini thread, for every message; pure. Owns nothing. Never judges a value, only holds it.
//! Invariant: unknown keys are skipped, `null` is as good as absent, and snake_case is as good as camelCase.

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

#[derive(serde::Deserialize)]
pub(super) struct WirePart<'a> {
    #[serde(borrow, rename = "inlineData", alias = "inline_data")]
    pub(super) inline_data: Option<WireBlob<'a>>,
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
    pub(super) thought: Option<bool>,
    #[serde(borrow, rename = "functionCall", alias = "function_call")]
    pub(super) function_call: Option<WireFunctionCall<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireBlob<'a> {
    #[serde(borrow, rename = "mimeType", alias = "mime_type")]
    pub(super) mime_type: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) data: Option<Bytes<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireSetupComplete {}

#[derive(serde::Deserialize, Default)]
pub(super) struct WireToolCall<'a> {
    #[serde(borrow, rename = "functionCalls", alias = "function_calls")]
    pub(super) function_calls: Option<Few<WireFunctionCall<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireFunctionCall<'a> {
    #[serde(borrow)]
    pub(super) id: Option<Text<'a>>,
    #[serde(borrow)]
    pub(super) name: Option<Text<'a>>,
    /// Not read before its size is known: a tree of small values takes some ten times the bytes of its text.
    #[serde(borrow)]
    pub(super) args: Option<&'a RawValue>,
}

#[derive(serde::Deserialize, Default)]
pub(super) struct WireCancellation<'a> {
    #[serde(borrow)]
    pub(super) ids: Option<Few<Text<'a>>>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireGoAway<'a> {
    #[serde(borrow, default, rename = "timeLeft", alias = "time_left")]
    pub(super) time_left: Scalar<'a>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireResumption<'a> {
    #[serde(borrow, rename = "newHandle", alias = "new_handle")]
    pub(super) new_handle: Option<Text<'a>>,
    pub(super) resumable: Option<bool>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireTranscription<'a> {
    #[serde(borrow)]
    pub(super) text: Option<Text<'a>>,
}

#[derive(serde::Deserialize)]
pub(super) struct WireUsage<'a> {
    #[serde(borrow, default, rename = "promptTokenCount", alias = "prompt_token_count")]
    pub(super) prompt_token_count: Scalar<'a>,
    #[serde(borrow, default, rename = "responseTokenCount", alias = "response_token_count")]
    pub(super) response_token_count: Scalar<'a>,
    #[serde(borrow, default, rename = "candidatesTokenCount", alias = "candidates_token_count")]
    pub(super) candidates_token_count: Scalar<'a>,
    #[serde(borrow, default, rename = "thoughtsTokenCount", alias = "thoughts_token_count")]
    pub(super) thoughts_token_count: Scalar<'a>,
    #[serde(borrow, default, rename = "toolUsePromptTokenCount", alias = "tool_use_prompt_token_count")]
    pub(super) tool_use_prompt_token_count: Scalar<'a>,
    #[serde(borrow, default, rename = "totalTokenCount", alias = "total_token_count")]
    pub(super) total_token_count: Scalar<'a>,
    #[serde(borrow, rename = "promptTokensDetails", alias = "prompt_tokens_details")]
    pub(super) prompt_tokens_details: Option<Few<WireModality<'a>>>,
    #[serde(
        borrow,
        rename = "responseTokensDetails",
        alias = "response_tokens_details",
        alias = "candidatesTokensDetails",
        alias = "candidates_tokens_details"
    )]
    pub(super) response_tokens_details: Option<Few<WireModality<'a>>>,
    #[serde(borrow, rename = "toolUsePromptTokensDetails", alias = "tool_use_prompt_tokens_details")]
    pub(super) tool_use_prompt_tokens_details: Option<Few<WireModality<'a>>>,
}

/// Tokens of one kind.
#[derive(serde::Deserialize)]
pub(super) struct WireModality<'a> {
    #[serde(borrow, default)]
    pub(super) modality: Scalar<'a>,
    #[serde(borrow, default, rename = "tokenCount", alias = "token_count")]
    pub(super) token_count: Scalar<'a>,
}

/// The most elements of a list. The model asks for a handful of tools at once; a message of nothing but empty calls
/// would hold a million, fifty times its own size in memory.
pub(super) const FEW: usize = 64;

/// A list of at most [`FEW`] elements.
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsList<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for AsList<T> {
            type Value = Vec<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {FEW} elements")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut few = Vec::new();
                while let Some(element) = list.next_element()? {
                    if few.len() == FEW {
                        return Err(Error::invalid_length(FEW + 1, &self));
                    }
                    few.push(element);
                }
                Ok(few)
            }
        }
        deserializer.deserialize_seq(AsList(PhantomData)).map(Few)
    }
}

/// A JSON string, borrowed unless it holds escapes. (Serde's own `Cow` always copies inside an `Option`.)
pub(super) struct Text<'a>(pub(super) Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;
        impl<'de> Visitor<'de> for AsText {
            type Value = Cow<'de, str>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }
        deserializer.deserialize_str(AsText).map(Text)
    }
}

/// A JSON string as bytes, neither checked to be UTF-8 nor copied unless it holds escapes: for base64, whose decoder
/// looks at each byte anyway.
pub(super) struct Bytes<'a>(pub(super) Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Bytes<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsBytes;
        impl<'de> Visitor<'de> for AsBytes {
            type Value = Cow<'de, [u8]>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a base64 string")
            }
            fn visit_borrowed_bytes<E: Error>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(bytes))
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(bytes.to_owned()))
            }
        }
        deserializer.deserialize_bytes(AsBytes).map(Bytes)
    }
}

/// A string or a number where proto3 JSON allows either (int64 travels as a string); any other value is skipped, for
/// no count or hint is worth losing the audio beside it.
#[derive(Default)]
pub(super) enum Scalar<'a> {
    #[default]
    Absent,
    Text(Cow<'a, str>),
    Number(u64),
}

impl<'a> Scalar<'a> {
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn number(&self) -> Option<u64> {
        match self {
            Self::Absent => None,
            Self::Text(text) => text.parse().ok(),
            Self::Number(number) => Some(*number),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Scalar<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsScalar;
        impl<'de> Visitor<'de> for AsScalar {
            type Value = Scalar<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a number")
            }
            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Scalar::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
                Ok(Scalar::Number(number))
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
                Ok(Scalar::Absent)
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Scalar::Absent)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Scalar::Absent)
            }
        }
        deserializer.deserialize_any(AsScalar)
    }
}
