//! What `export` prints and `import` stores: messages and, with `--raw`, the deliveries that providers sent.

use serde::{Deserialize, Serialize};

/// A line of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Exported {
    /// A message by itself.
    Message(Record),
    /// A delivery as it came, with all that was stored from it.
    Delivery(KeptDelivery),
}

/// A message with all its columns. The instant of `ts` is not among them: it follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The sender's identifier of the message.
    pub message_id: String,
    /// Who wrote it.
    pub from: String,
    /// To whom.
    pub to: String,
    /// When, exactly as it was sent.
    pub ts: String,
    /// What, if it has text.
    pub text: Option<String>,
    /// When it was stored.
    pub created_at: String,
    /// None for a native message.
    #[serde(flatten)]
    pub details: Option<ProviderDetails>,
}

/// What a message of a provider has beyond the columns that every message has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderDetails {
    /// Which provider.
    pub source: String,
    /// The provider's word for what it is.
    #[serde(rename = "type")]
    pub kind: String,
    /// The provider's identifier of the person who wrote it.
    pub from_id: Option<String>,
    /// What that person is called.
    pub profile_name: Option<String>,
    /// The provider's identifier of the number that it was sent to.
    pub channel: Option<String>,
    /// The message_id of the message that it answers.
    pub reply_to: Option<String>,
}

/// A delivery of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptDelivery {
    /// Which provider.
    pub source: String,
    /// When it was stored.
    pub received_at: String,
    /// The header fields of the signature, a line `name: value` each.
    pub fields: String,
    /// Byte for byte.
    #[serde(flatten)]
    pub body: Body,
    /// Parts of the body were erased, so the signature does not match any more.
    pub altered: bool,
    /// In the order of their arrival.
    pub messages: Vec<KeptMessage>,
    /// In the order of their arrival.
    pub statuses: Vec<KeptStatus>,
}

/// The body of a delivery, in a form that JSON can carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// As it is.
    #[serde(rename = "body")]
    Text(String),
    /// One that is not UTF-8.
    #[serde(rename = "body_hex", with = "hex")]
    Bytes(Vec<u8>),
}

/// A message of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptMessage {
    /// The message.
    #[serde(flatten)]
    pub record: Record,
    /// Where it begins in the body, in bytes.
    pub at: i64,
    /// Its length there.
    pub bytes: i64,
}

/// A status of a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptStatus {
    /// The message that was sent.
    pub message_id: String,
    /// The provider's word.
    pub status: String,
    /// To whom it was sent.
    pub recipient: String,
    /// When, by the provider's clock.
    pub ts: String,
    /// The first error that the provider names.
    pub error_code: Option<i64>,
}

impl Body {
    /// Takes any bytes.
    pub fn new(body: Vec<u8>) -> Body {
        String::from_utf8(body).map_or_else(|error| Body::Bytes(error.into_bytes()), Body::Text)
    }

    /// As it came.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Body::Text(text) => text.as_bytes(),
            Body::Bytes(bytes) => bytes,
        }
    }
}
