//! The chain: each record carries a keyed hash over its own bytes, those among them of the hash of the record
//! before. Pure.

use serde::{Deserialize, Serialize};

use super::entry::Kind;
use crate::secret::{Proof, Signer};

/// The version of the format.
pub const VERSION: u32 = 1;

/// What stands before the hash, which is the last field of a record.
const MAC_FIELD: &str = ",\"mac\":\"";

/// A record of a chain, by which everything before it is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Head {
    /// The stream.
    pub stream: String,
    /// The number of the record in it.
    pub sequence: u64,
    /// Its keyed hash.
    pub mac: String,
    /// Its time.
    pub time: String,
}

/// A record as it is written.
#[derive(Clone, Debug)]
pub struct Line {
    /// The JSON, without the end of the line.
    pub text: String,
    /// What it is about.
    pub kind: Kind,
    /// When it was written.
    pub time: chrono::DateTime<chrono::Utc>,
}

/// What a stream begins with.
#[derive(Clone, Debug, Default)]
pub struct Beginning {
    /// The number of the leader's term; none where nothing is elected.
    pub term: Option<u32>,
    /// The last head that is known of earlier streams.
    pub after: Option<Head>,
}

/// Numbers and seals records.
pub(super) struct Chain {
    signer: Signer,
    stream: String,
    term: Option<u32>,
    sequence: u64,
    last: Option<Head>,
}

/// The fields that every record begins with.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Opening<'a> {
    v: u32,
    stream: &'a str,
    sequence: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    term: Option<u32>,
    time: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a Head>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<&'a str>,
}

impl Chain {
    /// A new stream, after the last head that is known of earlier ones.
    pub(super) fn new(signer: Signer, Beginning { term, after }: Beginning) -> Self {
        // Later than the one before, whatever became of the clock.
        let before = after.as_ref().and_then(|head| begun(&head.stream)).map_or(0, |ms| ms + 1);
        let now = u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0);
        let stream = format!("{:012x}{:08x}", now.max(before), rand::random::<u32>());
        Self { signer, stream, term, sequence: 0, last: after }
    }

    /// The id of the record that was sealed last.
    pub(super) fn id(&self) -> String {
        format!("{}-{}", self.stream, self.sequence)
    }

    /// The record that was sealed last, if this stream has any.
    pub(super) fn head(&self) -> Option<&Head> {
        self.last.as_ref().filter(|_| self.sequence > 0)
    }

    /// Seals a record whose other fields are `fields`: JSON without its braces.
    pub(super) fn seal(&mut self, kind: Kind, fields: &str) -> Result<Line, serde_json::Error> {
        let now = chrono::Utc::now();
        let time = now.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        let opening = serde_json::to_string(&Opening {
            v: VERSION,
            stream: &self.stream,
            sequence: self.sequence + 1,
            term: self.term,
            time: &time,
            after: self.last.as_ref().filter(|_| self.sequence == 0),
            previous: self.last.as_ref().map(|head| head.mac.as_str()),
        })?;
        let mut text = format!("{},{fields}", opening.strip_suffix('}').unwrap_or(&opening));
        let mac = self.signer.sign_parts(&[b"audit", text.as_bytes()]);
        text.push_str(MAC_FIELD);
        text.push_str(&mac);
        text.push_str("\"}");
        self.sequence += 1;
        self.last = Some(Head { stream: self.stream.clone(), sequence: self.sequence, mac, time });
        Ok(Line { text, kind, time: now })
    }
}

/// When a stream began, in milliseconds: names of streams sort by it.
fn begun(stream: &str) -> Option<u64> {
    u64::from_str_radix(stream.get(..12)?, 16).ok()
}

/// Whether a record is later than another one, by their ids; any is later than none.
#[must_use]
pub fn is_later(id: &str, than: &str) -> bool {
    let parts = |id: &str| {
        let (stream, sequence) = id.rsplit_once('-')?;
        Some((stream.to_owned(), sequence.parse::<u64>().ok()?))
    };
    parts(id) > parts(than)
}

/// What a record says of its place in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Link {
    /// The stream.
    pub stream: String,
    /// The number of the record in it.
    pub sequence: u64,
    /// When it was written.
    pub time: String,
    /// In the first record of a stream: the last head that was known of earlier ones.
    #[serde(default)]
    pub after: Option<Head>,
    /// The hash of the record before.
    #[serde(default)]
    pub previous: Option<String>,
    /// Its own.
    pub mac: String,
}

/// Why a line is not taken for a record of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// It is no record of this format.
    NotARecord,
    /// Its hash was made with a key that is not at hand.
    UnknownKey(Box<Link>),
    /// It is not as it was written.
    Edited(Box<Link>),
}

/// Reads the link of a line, and proves the line.
///
/// # Errors
/// When it is not proven.
pub fn prove(line: &str, signer: &Signer) -> Result<Link, Unproven> {
    let link: Link = serde_json::from_str(line).map_err(|_| Unproven::NotARecord)?;
    let Some((body, mac)) = line.rsplit_once(MAC_FIELD) else {
        return Err(Unproven::NotARecord);
    };
    // What is read is what is proven: the last field, and nothing after it.
    if mac.strip_suffix("\"}") != Some(link.mac.as_str()) {
        return Err(Unproven::Edited(Box::new(link)));
    }
    match signer.check_parts(&link.mac, &[b"audit", body.as_bytes()]) {
        Proof::Valid => Ok(link),
        Proof::UnknownKey => Err(Unproven::UnknownKey(Box::new(link))),
        Proof::Invalid => Err(Unproven::Edited(Box::new(link))),
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::secret::MasterKeys;

    fn signer(byte: u8) -> Signer {
        MasterKeys::new(Zeroizing::new(vec![byte; 32]), Vec::new()).audit_signer()
    }

    fn chain(after: Option<Head>) -> Chain {
        Chain::new(signer(1), Beginning { term: None, after })
    }

    #[test]
    fn each_record_names_the_one_before_and_a_new_stream_the_last_head() {
        let mut first = chain(None);
        let lines: Vec<Line> =
            (0..3).map(|n| first.seal(Kind::Decision, &format!("\"n\":{n}")).unwrap()).collect();
        let links: Vec<Link> = lines.iter().map(|l| prove(&l.text, &signer(1)).unwrap()).collect();
        assert_eq!(links[0].previous, None);
        for (before, after) in links.iter().zip(&links[1..]) {
            assert_eq!(after.previous.as_ref(), Some(&before.mac));
            assert_eq!(after.sequence, before.sequence + 1);
        }
        let mut second = chain(first.head().cloned());
        assert_eq!(second.head(), None, "an earlier stream's head is not its own");
        let link = prove(&second.seal(Kind::Write, "\"n\":9").unwrap().text, &signer(1)).unwrap();
        assert_eq!(link.after.as_ref(), first.head());
        assert_eq!(link.previous.as_ref(), Some(&links[2].mac));
        let link = prove(&second.seal(Kind::Write, "\"n\":9").unwrap().text, &signer(1)).unwrap();
        assert_eq!((link.after, link.sequence), (None, 2));
    }

    #[test]
    fn later_records_have_later_ids_also_where_the_clock_went_back() {
        let mut first = chain(None);
        let mut ids = Vec::new();
        for _ in 0..11 {
            first.seal(Kind::Decision, "\"n\":1").unwrap();
            ids.push(first.id());
        }
        // Ahead of now by far.
        let stream = format!("7{}", &first.head().unwrap().stream[1..]);
        let ahead = Head { stream: stream.clone(), ..first.head().unwrap().clone() };
        ids.push(format!("{stream}-11"));
        let mut second = chain(Some(ahead));
        second.seal(Kind::Decision, "\"n\":1").unwrap();
        ids.push(second.id());
        for (before, after) in ids.iter().zip(&ids[1..]) {
            assert!(is_later(after, before) && !is_later(before, after), "{before} {after}");
        }
        assert!(is_later(&ids[0], "") && !is_later(&ids[0], &ids[0]));
    }

    #[test]
    fn any_change_of_a_line_is_an_edit_and_another_key_is_unknown() {
        let mut chain = chain(None);
        chain.seal(Kind::Decision, "\"a\":\"b\"").unwrap();
        let line = chain.seal(Kind::Decision, "\"a\":\"x,\\\"mac\\\":\\\"y\\\"}\"").unwrap().text;
        assert!(prove(&line, &signer(1)).is_ok());
        for edited in [
            line.replace("\"a\"", "\"b\""),
            line.replace("\"sequence\":2", "\"sequence\":3"),
            line.replacen("\"v\":1,", "\"v\":1, ", 1),
            format!("{line} "),
            line.replacen("\"a\":", "\"mac\":\"1\",\"a\":", 1),
        ] {
            assert!(prove(&edited, &signer(1)).is_err(), "{edited}");
        }
        assert!(matches!(prove(&line, &signer(2)), Err(Unproven::UnknownKey(_))));
        assert_eq!(prove("{}", &signer(1)), Err(Unproven::NotARecord));
        assert_eq!(prove("nonsense", &signer(1)), Err(Unproven::NotARecord));
    }
}
