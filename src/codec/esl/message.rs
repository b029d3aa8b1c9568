//! Messages of the event socket out of a stream of bytes: a head of `Name: value` lines, an empty line, and a body of
//! `Content-Length` bytes; an event is such a message once more, with its values percent-encoded.
//!
//! Runs in: the esl thread; pure. Owns the bytes of an unfinished message. Never fails on what it does not know.
//! Invariant: however the bytes are cut, the same messages come out; no more is kept than a head and a body may have.

use std::borrow::Cow;
use std::fmt;

use percent_encoding::percent_decode_str;
use thiserror::Error;

/// Longest head of a message, in bytes; real ones have under 200.
pub(crate) const HEAD_BYTES_MAX: usize = 4 * 1024;
/// Longest body, in bytes: an event with every variable of a channel has some 10 KiB, 100 at worst.
pub(crate) const BODY_BYTES_MAX: usize = 512 * 1024;

/// A message of the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// The switch wants the password.
    AuthRequest,
    /// The answer to a command, in the order of the commands: `+OK …` or `-ERR …`.
    Reply(String),
    /// The output of an `api` command.
    ApiResponse(String),
    /// Something happened.
    Event(Event),
    /// The address is not allowed to connect; the connection ends.
    Rejected,
    /// The switch ends the connection.
    Disconnect,
    /// Anything else.
    Other,
}

/// What happened, as `event plain` reports it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Event {
    text: String,
    body_at: usize,
}

impl Event {
    /// The value of a header, percent-decoded. Names are compared without regard to case.
    pub(crate) fn header(&self, name: &str) -> Option<Cow<'_, str>> {
        header_of(self.text.get(..self.body_at)?, name)
            .map(|value| percent_decode_str(value).decode_utf8_lossy())
    }

    /// What follows the headers, for a `BACKGROUND_JOB` the command's output.
    pub(crate) fn body(&self) -> &str {
        self.text.get(self.body_at..).unwrap_or_default()
    }

    fn new(text: String) -> Self {
        let body_at = text.find("\n\n").map_or(text.len(), |end| end + 2);
        Self { text, body_at }
    }
}

impl fmt::Debug for Event {
    /// Names the event only: its headers hold whatever the operator's dial plan keeps in variables.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({})", self.header("Event-Name").unwrap_or_default())
    }
}

/// Why the bytes cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FramingError {
    /// A head without an end.
    #[error("a head longer than {HEAD_BYTES_MAX} bytes: is this an event socket?")]
    HeadTooLong,
    /// `Content-Length` is no number, or more than [`BODY_BYTES_MAX`].
    #[error("a Content-Length that is no number up to {BODY_BYTES_MAX}")]
    BadLength,
}

/// See the head of this file.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    bytes: Vec<u8>,
    /// Bytes of the head that were searched for its end already.
    searched: usize,
}

impl Decoder {
    /// Takes what was read. To be followed by [`Decoder::next_message`] until there is none, so that what is kept stays
    /// below one message.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if there is one.
    ///
    /// # Errors
    /// The stream cannot be understood any more and is to be closed.
    pub(crate) fn next_message(&mut self) -> Result<Option<Message>, FramingError> {
        // Empty lines between messages mean nothing.
        let blank = self.bytes.iter().take_while(|byte| matches!(byte, b'\n' | b'\r')).count();
        if blank > 0 {
            self.bytes.drain(..blank);
            self.searched = 0;
        }
        let Some((head_end, body_at)) = self.end_of_head() else {
            self.searched = self.bytes.len().saturating_sub(3);
            return if self.bytes.len() > HEAD_BYTES_MAX { Err(FramingError::HeadTooLong) } else { Ok(None) };
        };
        if head_end > HEAD_BYTES_MAX {
            return Err(FramingError::HeadTooLong);
        }
        let head = String::from_utf8_lossy(&self.bytes[..head_end]);
        let length = match header_of(&head, "Content-Length") {
            None => 0,
            Some(length) => length
                .parse::<usize>()
                .ok()
                .filter(|length| *length <= BODY_BYTES_MAX)
                .ok_or(FramingError::BadLength)?,
        };
        let Some(body) = self.bytes.get(body_at..body_at + length) else {
            self.searched = head_end;
            return Ok(None);
        };
        let message = message(&head, body);
        self.bytes.drain(..body_at + length);
        self.searched = 0;
        Ok(Some(message))
    }

    /// Where the head ends, and where what follows begins.
    fn end_of_head(&self) -> Option<(usize, usize)> {
        let searched = self.searched.min(self.bytes.len());
        self.bytes.iter().enumerate().skip(searched).filter(|(_, byte)| **byte == b'\n').find_map(
            |(at, _)| match self.bytes.get(at + 1..)? {
                [b'\n', ..] => Some((at, at + 2)),
                [b'\r', b'\n', ..] => Some((at, at + 3)),
                _ => None,
            },
        )
    }
}

fn message(head: &str, body: &[u8]) -> Message {
    match header_of(head, "Content-Type").unwrap_or_default() {
        "auth/request" => Message::AuthRequest,
        "command/reply" => Message::Reply(header_of(head, "Reply-Text").unwrap_or_default().to_owned()),
        "api/response" => Message::ApiResponse(String::from_utf8_lossy(body).into_owned()),
        "text/event-plain" => Message::Event(Event::new(String::from_utf8_lossy(body).into_owned())),
        "text/rude-rejection" => Message::Rejected,
        "text/disconnect-notice" => Message::Disconnect,
        _ => Message::Other,
    }
}

fn header_of<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(decoder: &mut Decoder) -> Vec<Message> {
        let mut messages = Vec::new();
        while let Ok(Some(message)) = decoder.next_message() {
            messages.push(message);
        }
        messages
    }

    fn conversation() -> Vec<u8> {
        let job =
            "Event-Name: BACKGROUND_JOB\nJob-UUID: 7f4d\nJob-Command: uuid_kill\nContent-Length: 5\n\n+OK 1";
        let dtmf = "Event-Name: DTMF\nUnique-ID: u-1\nDTMF-Digit: %23\nCaller-Name: J%C3%B6rg%20+%zz%4\n\n";
        let mut bytes =
            b"Content-Type: auth/request\n\nContent-Type: command/reply\nReply-Text: +OK accepted\n\n"
                .to_vec();
        for event in [job, dtmf] {
            let head = format!("Content-Length: {}\nContent-Type: text/event-plain\n\n", event.len());
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(event.as_bytes());
        }
        bytes.extend_from_slice(b"Content-Type: text/disconnect-notice\nContent-Length: 4\n\nBye\n");
        bytes.extend_from_slice(b"content-type: text/rude-rejection\r\nContent-Length: 0\r\n\r\n");
        bytes.extend_from_slice(b"Content-Type: api/response\nContent-Length: 3\n\nabc");
        bytes
    }

    #[test]
    fn a_conversation_is_read() {
        let mut decoder = Decoder::default();
        decoder.push(&conversation());
        let messages = all(&mut decoder);
        assert_eq!(messages.len(), 7);
        assert_eq!(messages[..2], [Message::AuthRequest, Message::Reply("+OK accepted".into())]);
        let Message::Event(job) = &messages[2] else { panic!("{:?}", messages[2]) };
        assert_eq!((job.header("job-uuid").as_deref(), job.body()), (Some("7f4d"), "+OK 1"));
        let Message::Event(dtmf) = &messages[3] else { panic!("{:?}", messages[3]) };
        assert_eq!(dtmf.header("DTMF-Digit").as_deref(), Some("#"));
        assert_eq!(dtmf.header("Caller-Name").as_deref(), Some("Jörg +%zz%4"));
        assert_eq!((dtmf.header("Absent"), dtmf.body()), (None, ""));
        assert_eq!(
            messages[4..],
            [Message::Disconnect, Message::Rejected, Message::ApiResponse("abc".into())]
        );
    }

    #[test]
    fn the_body_of_an_event_is_not_searched_for_headers() {
        let event = Event::new("Event-Name: BACKGROUND_JOB\n\nJob-UUID: forged\n".into());
        assert_eq!(event.header("Job-UUID"), None);
    }

    #[test]
    fn what_is_no_event_socket_is_given_up() {
        let mut decoder = Decoder::default();
        decoder.push(&vec![b'x'; HEAD_BYTES_MAX + 1]);
        assert_eq!(decoder.next_message(), Err(FramingError::HeadTooLong));
        for length in ["-1", "9999999999999999999999", "524289", "x", ""] {
            let mut decoder = Decoder::default();
            decoder.push(format!("Content-Length: {length}\n\n").as_bytes());
            assert_eq!(decoder.next_message(), Err(FramingError::BadLength), "{length}");
        }
    }

    #[test]
    fn the_log_does_not_show_what_an_event_holds() {
        let event = Event::new("Event-Name: CHANNEL_HANGUP\nvariable_pin: 4711\n\n".into());
        assert_eq!(format!("{event:?}"), "Event(CHANNEL_HANGUP)");
    }

    proptest! {
        #[test]
        fn the_same_messages_come_out_however_the_bytes_are_cut(cuts in prop::collection::vec(1_usize..60, 1..40)) {
            let bytes = conversation();
            let mut whole = Decoder::default();
            whole.push(&bytes);
            let expected = all(&mut whole);
            let (mut decoder, mut messages, mut remaining) = (Decoder::default(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                if remaining.is_empty() {
                    break;
                }
                let (piece, rest) = remaining.split_at(remaining.len().min(*cut));
                decoder.push(piece);
                messages.extend(all(&mut decoder));
                remaining = rest;
            }
            prop_assert_eq!(messages, expected);
            prop_assert!(decoder.bytes.is_empty());
        }

        #[test]
        fn any_bytes_are_survived(
            pieces in prop::collection::vec(prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                Just(b"Content-Type: text/event-plain\n".to_vec()),
                Just(b"Content-Length: 7\n\n".to_vec()),
                Just(b"\n\n".to_vec()),
                Just(b"\r\n".to_vec()),
            ], 0..40)
        ) {
            let mut decoder = Decoder::default();
            for piece in pieces {
                decoder.push(&piece);
                for message in all(&mut decoder) {
                    if let Message::Event(event) = message {
                        _ = (event.header("a"), event.body());
                    }
                }
            }
        }
    }
}
