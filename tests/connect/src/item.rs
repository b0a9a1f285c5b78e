//! One item: its parts, how they change and the two bodies Connect shows of it.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::ids;
use crate::spec::{FieldSpec, ItemSpec};
use crate::state::Vault;

pub(crate) struct Item {
    pub(crate) id: String,
    /// Order of making.
    pub(crate) nth: u64,
    pub(crate) title: String,
    pub(crate) tags: Vec<String>,
    pub(crate) state: Option<String>,
    category: String,
    urls: Vec<String>,
    sections: Vec<Section>,
    fields: Vec<Field>,
    pub(crate) version: u64,
    created: DateTime<Utc>,
    updated: DateTime<Utc>,
}

#[derive(Clone, PartialEq)]
struct Section {
    id: String,
    label: Option<String>,
}

#[derive(Clone)]
struct Field {
    id: String,
    label: String,
    value: String,
    kind: String,
    purpose: String,
    section: Option<String>,
    totp: Option<String>,
    history: Vec<String>,
}

impl Field {
    /// Whether two are the same but for their former values.
    fn same(&self, other: &Self) -> bool {
        let parts = |f: &Self| {
            let texts = [&f.id, &f.label, &f.value, &f.kind, &f.purpose].map(String::clone);
            (texts, f.section.clone(), f.totp.clone())
        };
        parts(self) == parts(other)
    }
}

/// The former value that a password field's body carries when its specification gives none. No client has a use
/// for it, so that a test can look for it wherever a value must not be.
#[must_use]
pub fn retired_value(item_title: &str) -> String {
    format!("retired-value-of-{item_title}")
}

impl Item {
    pub(crate) fn new(id: String, nth: u64, spec: &ItemSpec) -> Self {
        let now = Utc::now();
        let (sections, fields) = parts(&id, spec);
        Self {
            id,
            nth,
            title: spec.title.clone(),
            tags: spec.tags.clone(),
            state: spec.state.clone(),
            category: category(spec),
            urls: spec.urls.clone(),
            sections,
            fields,
            version: 1,
            created: now,
            updated: now,
        }
    }

    /// Takes over a specification; whether anything was different, in which case the version moves.
    pub(crate) fn become_like(&mut self, spec: &ItemSpec) -> bool {
        let (sections, mut fields) = parts(&self.id, spec);
        let same = self.title == spec.title
            && self.tags == spec.tags
            && self.state == spec.state
            && self.category == category(spec)
            && self.urls == spec.urls
            && self.sections == sections
            && self.fields.len() == fields.len()
            && self.fields.iter().zip(&fields).all(|(a, b)| a.same(b));
        if same {
            return false;
        }
        for field in &mut fields {
            if let Some(old) = self.fields.iter().find(|f| f.id == field.id) {
                field.history.clone_from(&old.history);
                if old.value != field.value {
                    field.history.insert(0, old.value.clone());
                }
            }
        }
        self.title.clone_from(&spec.title);
        self.tags.clone_from(&spec.tags);
        self.state.clone_from(&spec.state);
        self.urls.clone_from(&spec.urls);
        self.category = category(spec);
        self.sections = sections;
        self.fields = fields;
        self.moved();
        true
    }

    pub(crate) fn moved(&mut self) {
        self.version += 1;
        self.updated = Utc::now();
    }

    /// Sets the value of the first field of this label or id, or adds a field.
    pub(crate) fn set_field(&mut self, label: &str, value: &str) {
        if let Some(field) = self.fields.iter_mut().find(|f| f.label == label || f.id == label) {
            let old = std::mem::replace(&mut field.value, value.to_owned());
            field.history.insert(0, old);
        } else {
            let field = make_field(
                &self.id,
                &self.title,
                &mut self.sections,
                &FieldSpec::new(label, value),
            );
            self.fields.push(field);
        }
    }

    pub(crate) fn remove_field(&mut self, label: &str) -> anyhow::Result<()> {
        let at = self.fields.iter().position(|f| f.label == label || f.id == label);
        let at = at.with_context(|| format!("no field `{label}` in item `{}`", self.title))?;
        self.fields.remove(at);
        Ok(())
    }

    pub(crate) fn rename_field(&mut self, label: &str, new: &str) -> anyhow::Result<()> {
        let field = self.fields.iter_mut().find(|f| f.label == label || f.id == label);
        let field =
            field.with_context(|| format!("no field `{label}` in item `{}`", self.title))?;
        new.clone_into(&mut field.label);
        Ok(())
    }

    /// The body in a list: no fields, no sections.
    pub(crate) fn summary(&self, vault: &Vault) -> Value {
        let mut body = json!({
            "id": self.id,
            "title": self.title,
            "vault": {"id": vault.id, "name": vault.name},
            "category": self.category,
            "version": self.version,
            "createdAt": time(self.created),
            "updatedAt": time(self.updated),
            "lastEditedBy": ids::id(&["editor"]).to_uppercase(),
        });
        if !self.tags.is_empty() {
            body["tags"] = json!(self.tags);
        }
        if let Some(state) = &self.state {
            body["state"] = json!(state);
        }
        if !self.urls.is_empty() {
            let url = |(n, href)| {
                if n == 0 { json!({"primary": true, "href": href}) } else { json!({"href": href}) }
            };
            body["urls"] = self.urls.iter().enumerate().map(url).collect();
        }
        body
    }

    /// The body of the item itself.
    pub(crate) fn full(&self, vault: &Vault) -> Value {
        let mut body = self.summary(vault);
        if !self.sections.is_empty() {
            let section = |s: &Section| {
                let mut section = json!({"id": s.id});
                if let Some(label) = &s.label {
                    section["label"] = json!(label);
                }
                section
            };
            body["sections"] = self.sections.iter().map(section).collect();
        }
        if !self.fields.is_empty() {
            body["fields"] = self.fields.iter().map(Field::body).collect();
        }
        body
    }
}

impl Field {
    fn body(&self) -> Value {
        let mut body = json!({"id": self.id, "type": self.kind, "label": self.label});
        if !self.purpose.is_empty() {
            body["purpose"] = json!(self.purpose);
        }
        if !self.value.is_empty() {
            body["value"] = json!(self.value);
        }
        if let Some(section) = &self.section {
            body["section"] = json!({"id": section});
        }
        if let Some(totp) = &self.totp {
            body["totp"] = json!(totp);
        }
        if self.purpose == "PASSWORD" {
            body["entropy"] = json!(64.5);
            body["passwordDetails"] = json!({"entropy": 64, "generated": true, "strength": "GOOD", "history": self.history});
        }
        body
    }
}

fn category(spec: &ItemSpec) -> String {
    spec.category.clone().unwrap_or_else(|| "LOGIN".to_owned())
}

fn parts(item: &str, spec: &ItemSpec) -> (Vec<Section>, Vec<Field>) {
    let mut sections: Vec<Section> = spec
        .sections
        .iter()
        .map(|s| Section { id: s.id.clone(), label: s.label.clone() })
        .collect();
    let mut fields: Vec<Field> = Vec::with_capacity(spec.fields.len());
    for field in &spec.fields {
        let mut made = make_field(item, &spec.title, &mut sections, field);
        let mut nth = 2;
        while fields.iter().any(|f| f.id == made.id) {
            made.id = ids::id(&[
                "field",
                item,
                made.section.as_deref().unwrap_or(""),
                &made.label,
                &nth.to_string(),
            ]);
            nth += 1;
        }
        fields.push(made);
    }
    (sections, fields)
}

fn make_field(item: &str, title: &str, sections: &mut Vec<Section>, spec: &FieldSpec) -> Field {
    let section = spec.section.as_ref().map(|name| {
        let by_id = sections.iter().find(|s| s.id == *name);
        let known = by_id.or_else(|| sections.iter().find(|s| s.label.as_ref() == Some(name)));
        known.map(|s| s.id.clone()).unwrap_or_else(|| {
            let id = ids::section_id(&[item, name]);
            sections.push(Section { id: id.clone(), label: Some(name.clone()) });
            id
        })
    });
    let purpose = match (&spec.purpose, &section, spec.label.as_str()) {
        (Some(purpose), ..) => purpose.clone(),
        (None, None, "username") => "USERNAME".to_owned(),
        (None, None, "password") => "PASSWORD".to_owned(),
        _ => String::new(),
    };
    let id = spec.id.clone().unwrap_or_else(|| match purpose.as_str() {
        "USERNAME" => "username".to_owned(),
        "PASSWORD" => "password".to_owned(),
        "NOTES" => "notesPlain".to_owned(),
        _ => ids::id(&["field", item, section.as_deref().unwrap_or(""), &spec.label]),
    });
    let kind = spec.kind.clone().unwrap_or_else(|| {
        let kind = if purpose == "PASSWORD" { "CONCEALED" } else { "STRING" };
        kind.to_owned()
    });
    Field {
        id,
        label: spec.label.clone(),
        value: spec.value.clone(),
        kind,
        section,
        totp: spec.totp.clone(),
        history: spec.history.clone().unwrap_or_else(|| vec![retired_value(title)]),
        purpose,
    }
}

/// RFC 3339 with `Z`.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
