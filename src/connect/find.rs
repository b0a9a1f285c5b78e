//! Finding what a reference means in an item. Pure.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use super::{Field, File, Item, Value, Website};
use crate::api::Reason;
use crate::reference::{Wanted, fold, select};

/// What a reference means in an item. `Debug` shows none of it.
pub enum Found<'i> {
    /// A text: a value, or something that is said of a field, file or website.
    Text(Cow<'i, str>),
    /// A private key, to be put into the OpenSSH format.
    PrivateKey(&'i str),
    /// The contents of a file, which Connect gives for its id.
    File(&'i File),
}

/// Why a reference means nothing in an item that can be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindError {
    /// No section of that name.
    SectionNotFound,
    /// No such field, file or website.
    NotFound,
    /// Several fields or files, by their ids.
    Ambiguous(Vec<String>),
    /// So many websites of one label, which have no ids.
    AmbiguousWebsite(usize),
    /// The field or website has no value. A key is not blanked without being told so.
    Empty(Kind),
    /// A one-time password.
    OneTimePassword,
    /// What was found has no such attribute.
    NoAttribute(Kind, Wanted),
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A field.
    Field,
    /// A file.
    File,
    /// A website.
    Website,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Field => "field",
            Self::File => "file",
            Self::Website => "website",
        })
    }
}

impl fmt::Debug for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text([REDACTED])",
            Self::PrivateKey(_) => "PrivateKey([REDACTED])",
            Self::File(_) => "File",
        })
    }
}

impl FindError {
    /// The condition's reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::SectionNotFound | Self::NotFound => Reason::FieldNotFound,
            Self::Ambiguous(_) | Self::AmbiguousWebsite(_) => Reason::AmbiguousField,
            Self::Empty(_) => Reason::FieldEmpty,
            Self::OneTimePassword => Reason::OneTimePassword,
            Self::NoAttribute(..) => Reason::AttributeNotFound,
        }
    }
}

impl Item {
    /// Finds what a reference means: `field` is a label or id, `section` too.
    ///
    /// Fields and files of one name are told apart by their ids alone. They are found as 1Password's own SDK
    /// does it: without a section, those outside of sections come first, then one that is unique across
    /// sections; where several sections match, what is in all of them counts
    /// (<https://github.com/1Password/onepassword-sdk-go>, release notes 0.1.6 and 0.2.1). An id comes before
    /// a name. After them come the websites by label, and last the words `website` and `notes`.
    ///
    /// # Errors
    /// [`FindError`]: nothing of that name, or several, or nothing in it to deliver.
    pub fn find(
        &self,
        section: Option<&str>,
        field: &str,
        wanted: Wanted,
    ) -> Result<Found<'_>, FindError> {
        let entry = match section {
            Some(section) => self.in_section(section, field)?,
            None => self.anywhere(field)?,
        };
        match entry {
            Some(Entry::Field(found)) => of_field(found, wanted),
            Some(Entry::File(found)) => of_file(found, wanted),
            None if section.is_some() => Err(FindError::NotFound),
            None => self.beside_fields(field, wanted),
        }
    }

    fn in_section(&self, section: &str, name: &str) -> Result<Option<Entry<'_>>, FindError> {
        let sections =
            select(&self.sections, section, |s| &s.id, |s| s.label.as_deref().unwrap_or_default());
        if sections.is_empty() {
            return Err(FindError::SectionNotFound);
        }
        let is_inside = |entry: &Entry<'_>| {
            sections.iter().any(|section| entry.section() == Some(section.id.as_str()))
        };
        let inside: Vec<Entry<'_>> = self.entries().filter(is_inside).collect();
        only(&named(&inside, name), |entry| entry.id())
    }

    fn anywhere(&self, name: &str) -> Result<Option<Entry<'_>>, FindError> {
        let all: Vec<Entry<'_>> = self.entries().collect();
        let outside: Vec<Entry<'_>> = all.iter().filter(|e| e.is_outside()).copied().collect();
        for candidates in [outside, all] {
            if let Some(found) = only(&named(&candidates, name), |entry| entry.id())? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// A website or the notes, which are in no section.
    fn beside_fields(&self, name: &str, wanted: Wanted) -> Result<Found<'_>, FindError> {
        if let Some(website) = self.website(name)? {
            return of_website(website, wanted);
        }
        match self.notes(name)? {
            Some(notes) => of_field(notes, wanted),
            None => Err(FindError::NotFound),
        }
    }

    fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        self.fields.iter().map(Entry::Field).chain(self.files.iter().map(Entry::File))
    }

    /// The website of a label, of several the primary one. `website` means the primary or only one where none
    /// has that label.
    fn website(&self, name: &str) -> Result<Option<&Website>, FindError> {
        fn label(website: &Website) -> &str {
            website.label.as_deref().unwrap_or_default()
        }
        let mut found = select(&self.urls, name, label, label);
        if found.is_empty() && fold(name) == "website" {
            found = self.urls.iter().collect();
        }
        let primary: Vec<&Website> = found.iter().copied().filter(|url| url.primary).collect();
        match (found.as_slice(), primary.as_slice()) {
            ([], _) => Ok(None),
            (&[url], _) | (_, &[url]) => Ok(Some(url)),
            (several, _) => Err(FindError::AmbiguousWebsite(several.len())),
        }
    }

    /// The notes, whose field is labelled differently by different clients.
    fn notes(&self, name: &str) -> Result<Option<&Field>, FindError> {
        if !matches!(fold(name).as_str(), "notes" | "notesplain") {
            return Ok(None);
        }
        let is_notes = |field: &&Field| field.purpose.as_deref() == Some("NOTES");
        only(&self.fields.iter().filter(is_notes).collect::<Vec<_>>(), |field| &field.id)
    }
}

#[derive(Clone, Copy)]
enum Entry<'i> {
    Field(&'i Field),
    File(&'i File),
}

impl<'i> Entry<'i> {
    fn id(&self) -> &'i str {
        match self {
            Self::Field(field) => &field.id,
            Self::File(file) => &file.id,
        }
    }

    fn name(&self) -> &'i str {
        match self {
            Self::Field(field) => field.label.as_deref().unwrap_or_default(),
            Self::File(file) => &file.name,
        }
    }

    fn section(&self) -> Option<&'i str> {
        match self {
            Self::Field(field) => field.section_id.as_deref(),
            Self::File(file) => file.section_id.as_deref(),
        }
    }

    /// `add more` is the id of the section that holds what has none.
    fn is_outside(&self) -> bool {
        self.section().is_none_or(|id| id == "add more")
    }
}

/// Those of an id, else those of a name. An id comes first, or what bears another's id as its name would
/// leave that other without a spelling.
fn named<'i>(candidates: &[Entry<'i>], spelled: &str) -> Vec<Entry<'i>> {
    let of_id: Vec<Entry<'i>> =
        candidates.iter().filter(|entry| entry.id() == spelled).copied().collect();
    if of_id.is_empty() {
        select(candidates, spelled, |entry| entry.name(), |entry| entry.name())
            .into_iter()
            .copied()
            .collect()
    } else {
        of_id
    }
}

fn only<T: Copy>(found: &[T], id: impl Fn(&T) -> &str) -> Result<Option<T>, FindError> {
    match found {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        several => Err(FindError::Ambiguous(several.iter().map(|e| id(e).to_owned()).collect())),
    }
}

fn of_field(field: &Field, wanted: Wanted) -> Result<Found<'_>, FindError> {
    match wanted {
        Wanted::Value => of_value(field).map(|value| Found::Text(value.into())),
        Wanted::OpenSsh => of_value(field).map(Found::PrivateKey),
        Wanted::Type => text(Some(&field.type_), Kind::Field, wanted),
        Wanted::Id => text(Some(&field.id), Kind::Field, wanted),
        Wanted::Purpose => text(field.purpose.as_deref(), Kind::Field, wanted),
        Wanted::Label => text(field.label.as_deref(), Kind::Field, wanted),
        Wanted::Content | Wanted::Size | Wanted::Name => {
            Err(FindError::NoAttribute(Kind::Field, wanted))
        }
    }
}

fn of_value(field: &Field) -> Result<&str, FindError> {
    if field.is_one_time_password() {
        return Err(FindError::OneTimePassword);
    }
    filled(field.value.as_ref(), Kind::Field)
}

fn of_file(file: &File, wanted: Wanted) -> Result<Found<'_>, FindError> {
    match wanted {
        Wanted::Value | Wanted::Content => Ok(Found::File(file)),
        Wanted::Size => match file.size {
            Some(size) => Ok(Found::Text(size.to_string().into())),
            None => Err(FindError::NoAttribute(Kind::File, wanted)),
        },
        Wanted::Type => Ok(Found::Text("FILE".into())),
        Wanted::Id => text(Some(&file.id), Kind::File, wanted),
        Wanted::Name => text(Some(&file.name), Kind::File, wanted),
        Wanted::OpenSsh | Wanted::Purpose | Wanted::Label => {
            Err(FindError::NoAttribute(Kind::File, wanted))
        }
    }
}

fn of_website(url: &Website, wanted: Wanted) -> Result<Found<'_>, FindError> {
    match wanted {
        Wanted::Value => {
            filled(url.href.as_ref(), Kind::Website).map(|href| Found::Text(href.into()))
        }
        Wanted::Label => text(url.label.as_deref(), Kind::Website, wanted),
        Wanted::OpenSsh
        | Wanted::Type
        | Wanted::Id
        | Wanted::Purpose
        | Wanted::Content
        | Wanted::Size
        | Wanted::Name => Err(FindError::NoAttribute(Kind::Website, wanted)),
    }
}

fn filled(value: Option<&Value>, kind: Kind) -> Result<&str, FindError> {
    value.map(Value::expose).filter(|value| !value.is_empty()).ok_or(FindError::Empty(kind))
}

/// What is said of something; an empty text says nothing.
fn text(said: Option<&str>, kind: Kind, wanted: Wanted) -> Result<Found<'_>, FindError> {
    let said = said.filter(|text| !text.is_empty());
    said.map(|text| Found::Text(text.into())).ok_or(FindError::NoAttribute(kind, wanted))
}
