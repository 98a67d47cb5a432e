//! A delivery: what a request with a right signature has brought.
//!
//! [`webhook`](crate::webhook) makes it, and [`store`](crate::store) keeps it.

mod masking;

pub use masking::without;

use crate::closed_set::closed_set;
use crate::message::{Message, MessageId, Party};
use crate::timestamp::Timestamp;

closed_set! {
    /// A kind of sender; [`webhook`](crate::webhook) has a file for each.
    #[expect(missing_docs, reason = "the file of each says what it is")]
    pub enum Source;
    /// Its name.
    pub fn label() -> &'static str;
    Native = "native",
    Standard = "standard",
    Meta = "meta",
}

/// What a verified body holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Who sent it.
    pub source: Source,
    /// In their order in the body.
    pub messages: Vec<Message>,
    /// In their order in the body.
    pub statuses: Vec<StatusUpdate>,
    /// Itself; None for a delivery of which nothing is kept beyond messages and statuses.
    pub raw: Option<Raw>,
}

/// A delivery as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw {
    /// The header fields of the signature, a line `name: value` each.
    pub fields: String,
    /// The body.
    pub body: Vec<u8>,
}

/// What became of a message that was sent through the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusUpdate {
    /// The provider's identifier of that message.
    pub message_id: MessageId,
    /// The provider's word, also one that is not known here.
    pub status: String,
    /// To whom the message was sent.
    pub recipient: Party,
    /// When, by the provider's clock.
    pub ts: Timestamp,
    /// The first of the errors that the provider names.
    pub error_code: Option<i64>,
}

impl Delivery {
    /// One from which nothing is to be stored.
    pub fn empty(source: Source) -> Delivery {
        Delivery { source, messages: Vec::new(), statuses: Vec::new(), raw: None }
    }

    /// Whether nothing is to be stored from it.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.statuses.is_empty() && self.raw.is_none()
    }

    /// The identifier of the first message or, without one, of the message that the first status is about.
    pub fn first_id(&self) -> Option<&MessageId> {
        let statuses = self.statuses.iter().map(|update| &update.message_id);
        self.messages.iter().map(|message| &message.id).chain(statuses).next()
    }

    /// Messages and statuses together.
    pub fn updates(&self) -> usize {
        self.messages.len() + self.statuses.len()
    }
}
