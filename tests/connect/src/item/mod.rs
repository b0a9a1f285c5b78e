//! One item: how it changes. Its parts are in [`parts`], what Connect shows of it in [`body`], what a client may
//! make of it in [`write`] and [`patch`].

use anyhow::Context as _;
use chrono::{DateTime, Utc};

pub(crate) mod body;
pub(crate) mod generate;
pub(crate) mod parts;
pub(crate) mod patch;
pub(crate) mod write;

use crate::spec::{FieldSpec, FileSpec, ItemSpec};
use parts::{Content, Field, File};

#[derive(Clone)]
pub(crate) struct Item {
    pub(crate) id: String,
    /// Order of making.
    pub(crate) nth: u64,
    pub(crate) content: Content,
    pub(crate) version: u64,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
}

/// The former value that a password field's body carries when its specification gives none. No client has a use
/// for it, so that a test can look for it wherever a value must not be.
#[must_use]
pub fn retired_value(item_title: &str) -> String {
    format!("retired-value-of-{item_title}")
}

impl Item {
    pub(crate) fn new(id: String, nth: u64, content: Content) -> Self {
        let now = Utc::now();
        Self { id, nth, content, version: 1, created: now, updated: now }
    }

    /// Takes over a specification; whether anything was different, in which case the version moves.
    pub(crate) fn become_like(&mut self, spec: &ItemSpec) -> bool {
        let mut content = Content::of(&self.id, spec);
        content.remember(&self.content);
        let differs = self.content != content;
        if differs {
            self.content = content;
            self.moved();
        }
        differs
    }

    pub(crate) fn moved(&mut self) {
        self.version += 1;
        self.updated = Utc::now();
    }

    /// Sets the value of the first field of this label or id, or adds a field.
    pub(crate) fn set_field(&mut self, label: &str, value: &str) {
        let content = &mut self.content;
        if let Some(field) = content.fields.iter_mut().find(|f| f.label == label || f.id == label) {
            let old = std::mem::replace(&mut field.value, value.to_owned());
            field.history.insert(0, old);
        } else {
            let spec = FieldSpec::new(label, value);
            content.fields.push(Field::of(&self.id, &content.title, &mut content.sections, &spec));
        }
    }

    pub(crate) fn remove_field(&mut self, label: &str) -> anyhow::Result<()> {
        let content = &mut self.content;
        let at = content.fields.iter().position(|f| f.label == label || f.id == label);
        let at = at.with_context(|| format!("no field `{label}` in item `{}`", content.title))?;
        content.fields.remove(at);
        Ok(())
    }

    pub(crate) fn rename_field(&mut self, label: &str, new: &str) -> anyhow::Result<()> {
        let content = &mut self.content;
        let field = content.fields.iter_mut().find(|f| f.label == label || f.id == label);
        let field =
            field.with_context(|| format!("no field `{label}` in item `{}`", content.title))?;
        new.clone_into(&mut field.label);
        Ok(())
    }

    /// Sets what the first file of this name or id holds, or adds a file.
    pub(crate) fn set_file(&mut self, name: &str, bytes: &[u8]) {
        let content = &mut self.content;
        if let Some(file) = content.files.iter_mut().find(|f| f.name == name || f.id == name) {
            file.content = bytes.to_vec();
        } else {
            let spec = FileSpec::new(name, bytes);
            content.files.push(File::of(&self.id, &mut content.sections, &spec));
        }
    }

    pub(crate) fn remove_file(&mut self, name: &str) -> anyhow::Result<()> {
        let content = &mut self.content;
        let at = content.files.iter().position(|f| f.name == name || f.id == name);
        let at = at.with_context(|| format!("no file `{name}` in item `{}`", content.title))?;
        content.files.remove(at);
        Ok(())
    }
}
