use serde::de::value::{Error, StrDeserializer};
use serde::{Deserialize, de::IntoDeserializer as _};

use super::ParseError;
use crate::api::{Attribute, SshFormat};

/// What of a field, a file or a website is wanted: its value, unless the query says otherwise. A one-time
/// password is none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// A field's value, a file's contents, a website's address.
    #[default]
    Value,
    /// A field's value, which is a private key, in the OpenSSH format.
    OpenSsh,
    /// The type.
    Type,
    /// The id.
    Id,
    /// A field's purpose.
    Purpose,
    /// The label of a field or a website.
    Label,
    /// A file's contents.
    Content,
    /// A file's size in bytes.
    Size,
    /// A file's name.
    Name,
}

impl Wanted {
    /// Every one.
    pub const ALL: [Self; 9] = [
        Self::Value,
        Self::OpenSsh,
        Self::Type,
        Self::Id,
        Self::Purpose,
        Self::Label,
        Self::Content,
        Self::Size,
        Self::Name,
    ];

    /// What the two parameters say together.
    ///
    /// # Errors
    /// [`ParseError::OneTimePassword`], whatever stands beside it; [`ParseError::SshFormatOfAttribute`].
    pub fn new(
        attribute: Option<Attribute>,
        ssh_format: Option<SshFormat>,
    ) -> Result<Self, ParseError> {
        match (attribute, ssh_format) {
            (Some(Attribute::Otp | Attribute::Totp), _) => Err(ParseError::OneTimePassword),
            (None | Some(Attribute::Value), Some(SshFormat::OpenSsh)) => Ok(Self::OpenSsh),
            (Some(_), Some(SshFormat::OpenSsh)) => Err(ParseError::SshFormatOfAttribute),
            (None | Some(Attribute::Value), None) => Ok(Self::Value),
            (Some(Attribute::Type), None) => Ok(Self::Type),
            (Some(Attribute::Id), None) => Ok(Self::Id),
            (Some(Attribute::Purpose), None) => Ok(Self::Purpose),
            (Some(Attribute::Label | Attribute::Title), None) => Ok(Self::Label),
            (Some(Attribute::Content), None) => Ok(Self::Content),
            (Some(Attribute::Size), None) => Ok(Self::Size),
            (Some(Attribute::Name), None) => Ok(Self::Name),
        }
    }

    /// Reads what stands after the `?`, in any order.
    pub(super) fn from_query(query: &str) -> Result<Self, ParseError> {
        let (mut attribute, mut ssh_format) = (None, None);
        for parameter in query.split('&') {
            let earlier = match parameter.split_once('=') {
                Some(("attribute" | "attr", what)) => {
                    attribute.replace(word(what).ok_or(ParseError::Attribute)?).is_some()
                }
                Some(("ssh-format", format)) => {
                    ssh_format.replace(word(format).ok_or(ParseError::SshFormat)?).is_some()
                }
                Some(_) | None => return Err(ParseError::Query),
            };
            if earlier {
                return Err(ParseError::Query);
            }
        }
        Self::new(attribute, ssh_format)
    }

    /// The parameter of the query that says so, if it takes one.
    pub(super) fn parameter(self) -> Option<&'static str> {
        match self {
            Self::Value => None,
            Self::OpenSsh => Some("ssh-format"),
            Self::Type
            | Self::Id
            | Self::Purpose
            | Self::Label
            | Self::Content
            | Self::Size
            | Self::Name => Some("attribute"),
        }
    }

    /// The word for it in references and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::OpenSsh => "openssh",
            Self::Type => "type",
            Self::Id => "id",
            Self::Purpose => "purpose",
            Self::Label => "label",
            Self::Content => "content",
            Self::Size => "size",
            Self::Name => "name",
        }
    }
}

/// A word of the custom resource's, which are those of references.
fn word<'de, T: Deserialize<'de>>(text: &'de str) -> Option<T> {
    let text: StrDeserializer<'de, Error> = text.into_deserializer();
    T::deserialize(text).ok()
}
