//! The bodies that Connect shows of an item and of its files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::ids;
use crate::item::Item;
use crate::item::parts::{Field, File, Section, Url};
use crate::state::Vault;

impl Item {
    /// The body in a list: no fields, no sections, no files.
    pub(crate) fn summary(&self, vault: &Vault) -> Value {
        let content = &self.content;
        let mut body = json!({
            "id": self.id,
            "title": content.title,
            "vault": {"id": vault.id, "name": vault.name},
            "category": content.category,
            "version": self.version,
            "createdAt": time(self.created),
            "updatedAt": time(self.updated),
            "lastEditedBy": ids::id(&["editor"]).to_uppercase(),
        });
        if content.favorite {
            body["favorite"] = json!(true);
        }
        if !content.tags.is_empty() {
            body["tags"] = json!(content.tags);
        }
        if let Some(state) = &content.state {
            body["state"] = json!(state);
        }
        if !content.urls.is_empty() {
            body["urls"] = content.urls.iter().map(Url::body).collect();
        }
        body
    }

    /// The body of the item itself.
    pub(crate) fn full(&self, vault: &Vault) -> Value {
        let content = &self.content;
        let mut body = self.summary(vault);
        if !content.sections.is_empty() {
            body["sections"] = content.sections.iter().map(Section::body).collect();
        }
        if !content.fields.is_empty() {
            body["fields"] = content.fields.iter().map(Field::body).collect();
        }
        if !content.files.is_empty() {
            body["files"] =
                content.files.iter().map(|f| f.body(&vault.id, &self.id, Inline::No)).collect();
        }
        body
    }
}

impl Url {
    fn body(&self) -> Value {
        let mut body = json!({"href": self.href});
        if !self.label.is_empty() {
            body["label"] = json!(self.label);
        }
        if self.primary {
            body["primary"] = json!(true);
        }
        body
    }
}

impl Section {
    fn body(&self) -> Value {
        let mut body = json!({"id": self.id});
        if let Some(label) = &self.label {
            body["label"] = json!(label);
        }
        body
    }
}

impl Field {
    fn body(&self) -> Value {
        let mut body = json!({"id": self.id, "type": self.kind});
        if !self.label.is_empty() {
            body["label"] = json!(self.label);
        }
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

/// Whether a file's body carries what the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Inline {
    No,
    Yes,
}

impl File {
    /// What a client finds the content under. The slash in front matters: clients put the server's address before it.
    pub(crate) fn content_path(&self, vault: &str, item: &str) -> String {
        format!("/v1/vaults/{vault}/items/{item}/files/{}/content", self.id)
    }

    pub(crate) fn body(&self, vault: &str, item: &str, inline: Inline) -> Value {
        let mut body = json!({
            "id": self.id,
            "name": self.name,
            "size": self.content.len(),
            "content_path": self.content_path(vault, item),
        });
        if let Some(section) = &self.section {
            body["section"] = json!({"id": section});
        }
        if inline == Inline::Yes {
            body["content"] = json!(STANDARD.encode(&self.content));
        }
        body
    }
}

/// RFC 3339 with `Z`.
pub(crate) fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}
