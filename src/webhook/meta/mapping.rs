//! What Meta calls things, and what they are called here.

use super::json::Object;
use crate::delivery::StatusUpdate;
use crate::message::{Details, Message, MessageId, Party, Text};
use crate::timestamp::Timestamp;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::ops::Range;

/// What the messages and statuses of one change have in common.
pub(super) struct Place<'a> {
    to: Party,
    channel: Option<String>,
    contacts: Vec<Contact>,
    /// Places in `contacts`, by telephone number and by user id.
    contact_of: HashMap<String, usize>,
    arrived: &'a Timestamp,
}

struct Contact {
    number: Option<String>,
    user_id: Option<String>,
    name: Option<String>,
}

impl<'a> Place<'a> {
    /// Of a change with this `value`.
    pub(super) fn of(value: &Object<'_>, arrived: &'a Timestamp) -> Place<'a> {
        let metadata = value.object("metadata");
        let of_metadata = |name: &str| metadata.as_ref().and_then(|metadata| metadata.words(name));
        let channel = of_metadata("phone_number_id");
        // It is written for people: +1 202-555-0100.
        let number =
            of_metadata("display_phone_number").map(|number| number.replace(|c: char| !c.is_ascii_digit(), ""));
        let to = number.and_then(party).or_else(|| Party::named(channel.clone()?)).unwrap_or_else(Party::unknown);
        let contacts: Vec<Contact> = value.items("contacts").into_iter().filter_map(Contact::of).collect();
        let ids = contacts.iter().enumerate().flat_map(|(index, contact)| {
            [&contact.number, &contact.user_id].into_iter().flatten().map(move |id| (id.clone(), index))
        });
        let contact_of = ids.collect();
        Place { to, channel, contacts, contact_of, arrived }
    }

    /// An item of `messages`, which lies there in the body. None without a usable id.
    pub(super) fn message(&self, item: &RawValue, place: Range<usize>) -> Option<Message> {
        let message = Object::of(item)?;
        let id = MessageId::parse(message.text("id")?).ok()?;
        let (number, user_id) = (message.words("from"), message.words("from_user_id"));
        let contact = self.contact(&[&number, &user_id]);
        let from = self.sender(&message, number, &user_id);
        let kind = message.words("type").unwrap_or_else(|| "unknown".to_owned());
        let only = self.only_contact();
        let details = Details {
            from_id: user_id.or_else(|| only.and_then(|contact| contact.user_id.clone())),
            profile_name: contact.or(only).and_then(|contact| contact.name.clone()),
            channel: self.channel.clone(),
            reply_to: message.object("context").and_then(|context| context.words("id")),
            place,
            kind,
        };
        Some(Message {
            id,
            from,
            to: self.to.clone(),
            ts: self.time(&message),
            text: text(&details.kind, &message).map(Text::unbounded),
            details: Some(details),
        })
    }

    /// An item of `statuses`. None without a usable id.
    pub(super) fn status(&self, item: &RawValue) -> Option<StatusUpdate> {
        let status = Object::of(item)?;
        let recipient = status.words("recipient_id").and_then(party);
        let recipient = recipient.or_else(|| Party::named(status.words("recipient_user_id")?));
        let error = status.items("errors").into_iter().next().and_then(Object::of);
        Some(StatusUpdate {
            message_id: MessageId::parse(status.text("id")?).ok()?,
            status: status.words("status").unwrap_or_else(|| "unknown".to_owned()),
            recipient: recipient.unwrap_or_else(Party::unknown),
            ts: self.time(&status),
            error_code: error.and_then(|error| error.number("code")),
        })
    }

    /// Since April 2026 a user with a name may show no number. Then the identifiers that Meta has for users stand for it.
    fn sender(&self, message: &Object<'_>, number: Option<String>, user_id: &Option<String>) -> Party {
        let contact = || {
            let contact = self.only_contact()?;
            contact.number.clone().and_then(party).or_else(|| Party::named(contact.user_id.clone()?))
        };
        let system = || {
            let system = message.object("system")?;
            let before = system.words("previous_user_id").and_then(Party::named);
            before.or_else(|| party(system.words("wa_id")?))
        };
        let sender = number.and_then(party).or_else(|| Party::named(user_id.clone()?));
        sender.or_else(contact).or_else(system).unwrap_or_else(Party::unknown)
    }

    /// The contact that one of the ids names.
    fn contact(&self, ids: &[&Option<String>]) -> Option<&Contact> {
        let index = ids.iter().find_map(|id| self.contact_of.get(id.as_ref()?))?;
        self.contacts.get(*index)
    }

    fn only_contact(&self) -> Option<&Contact> {
        self.contacts.first().filter(|_| self.contacts.len() == 1)
    }

    /// The `timestamp` of an item, or when it arrived.
    fn time(&self, item: &Object<'_>) -> Timestamp {
        let sent = item.number("timestamp").and_then(Timestamp::of_unix_s);
        sent.unwrap_or_else(|| self.arrived.clone())
    }
}

impl Contact {
    fn of(item: &RawValue) -> Option<Contact> {
        let contact = Object::of(item)?;
        let name = contact.object("profile").and_then(|profile| profile.words("name"));
        Some(Contact { number: contact.words("wa_id"), user_id: contact.words("user_id"), name })
    }
}

/// A telephone number as Meta writes it, digits without a `+`, or anything else as it is.
fn party(text: String) -> Option<Party> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    Party::named(if is_number { format!("+{text}") } else { text })
}

/// What a person would call the text of a message.
fn text(kind: &str, message: &Object<'_>) -> Option<String> {
    match kind {
        "edit" => {
            let edited = message.object("edit")?.object("message")?;
            written(&edited.text("type")?, &edited)
        }
        _ => written(kind, message),
    }
}

fn written(kind: &str, message: &Object<'_>) -> Option<String> {
    let part = message.object(kind);
    match kind {
        "text" => part?.text("body"),
        "image" | "video" | "document" | "audio" | "sticker" => {
            let media = part?;
            media.words("caption").or_else(|| media.words("filename"))
        }
        "location" => {
            let location = part?;
            joined(["name", "address"].into_iter().filter_map(|name| location.words(name)))
        }
        "contacts" => {
            let contacts = message.items("contacts").into_iter().filter_map(Object::of);
            joined(contacts.filter_map(|contact| contact.object("name")?.words("formatted_name")))
        }
        "interactive" => {
            let interactive = part?;
            let reply = interactive.object(&interactive.text("type")?)?;
            reply.words("title").or_else(|| reply.words("body"))
        }
        "reaction" => part?.words("emoji"), // without one, the reaction was taken back
        "button" | "order" => part?.words("text"),
        "system" => part?.words("body"),
        _ => None,
    }
}

fn joined(parts: impl Iterator<Item = String>) -> Option<String> {
    let parts: Vec<String> = parts.collect();
    Some(parts.join(", ")).filter(|text| !text.is_empty())
}
