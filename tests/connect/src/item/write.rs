//! What a client may write: the body of a `POST` or `PUT` becomes the content of an item, or is refused.
//!
//! Files, former values, one-time codes and everything that Connect counts itself (ids, versions, times) are not
//! written through a body: what it says of them is passed over.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;

use crate::ids;
use crate::item::generate::{self, Recipe};
use crate::item::parts::{Content, Field, Section, Url, free_id};

const PURPOSES: [&str; 4] = ["", "USERNAME", "PASSWORD", "NOTES"];

/// Why a body is refused. It names ids and never quotes a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid(String);

impl Invalid {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }

    /// In the form that Connect's own have.
    pub(crate) fn message(&self) -> String {
        format!("Validation: (validateVaultItem failed to Validate), {}", self.0)
    }
}

/// The item that a body is to become.
pub(crate) enum Place<'a> {
    /// An item that is yet to be made.
    New {
        /// The vault of the path.
        vault: &'a str,
    },
    /// An item that is there.
    Known {
        /// The vault of the path.
        vault: &'a str,
        /// The item of the path.
        item: &'a str,
        /// What it holds now.
        content: &'a Content,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ItemBody {
    id: Option<String>,
    title: Option<String>,
    vault: Option<VaultBody>,
    category: Option<String>,
    favorite: Option<bool>,
    state: Option<String>,
    tags: Option<Vec<String>>,
    urls: Option<Vec<UrlBody>>,
    sections: Option<Vec<SectionBody>>,
    fields: Option<Vec<FieldBody>>,
}

#[derive(Deserialize)]
struct VaultBody {
    id: Option<String>,
}

#[derive(Deserialize)]
struct UrlBody {
    href: Option<String>,
    label: Option<String>,
    primary: Option<bool>,
}

#[derive(Deserialize)]
struct SectionBody {
    id: Option<String>,
    label: Option<String>,
}

#[derive(Deserialize)]
struct FieldBody {
    id: Option<String>,
    #[serde(rename = "type")]
    kind: Option<String>,
    purpose: Option<String>,
    label: Option<String>,
    value: Option<String>,
    section: Option<SectionBody>,
    generate: Option<bool>,
    recipe: Option<Recipe>,
}

impl Content {
    /// Reads a body.
    pub(crate) fn from_body(body: &Value, place: &Place<'_>) -> Result<Self, Invalid> {
        let body = ItemBody::deserialize(body)
            .map_err(|_| Invalid::new("this is not the body of an item"))?;
        let (vault, old) = match place {
            Place::New { vault } => (*vault, None),
            Place::Known { vault, item, content } => {
                if body.id.as_deref().is_some_and(|id| !id.is_empty() && id != *item) {
                    return Err(Invalid::new("the id in the body is not that in the path"));
                }
                (*vault, Some(*content))
            }
        };
        match body.vault.and_then(|v| v.id) {
            Some(id) if id == vault => {}
            Some(_) => return Err(Invalid::new("the vault in the body is not that in the path")),
            None => return Err(Invalid::new("vault.id is missing")),
        }
        let category = body.category.filter(|c| !c.is_empty());
        let sections = sections(body.sections.unwrap_or_default())?;
        let fields = fields(body.fields.unwrap_or_default(), &sections, old)?;
        let mut content = Self {
            title: body.title.unwrap_or_default(),
            category: category.ok_or_else(|| Invalid::new("category is missing"))?,
            favorite: body.favorite.unwrap_or_default(),
            tags: body.tags.unwrap_or_default(),
            state: body.state.filter(|s| !s.is_empty()),
            urls: body.urls.unwrap_or_default().into_iter().map(url).collect::<Result<_, _>>()?,
            sections,
            fields,
            files: old.map(|old| old.files.clone()).unwrap_or_default(),
        };
        if let Some(old) = old {
            content.remember(old);
        }
        Ok(content)
    }
}

fn url(body: UrlBody) -> Result<Url, Invalid> {
    let href = body.href.ok_or_else(|| Invalid::new("a url has no href"))?;
    let primary = body.primary.unwrap_or_default();
    Ok(Url { href, label: body.label.unwrap_or_default(), primary })
}

fn sections(bodies: Vec<SectionBody>) -> Result<Vec<Section>, Invalid> {
    let mut sections: Vec<Section> = Vec::with_capacity(bodies.len());
    for body in bodies {
        let id = body.id.filter(|id| !id.is_empty()).unwrap_or_else(|| {
            ids::section_id(&[body.label.as_deref().unwrap_or(""), &sections.len().to_string()])
        });
        if sections.iter().any(|s| s.id == id) {
            return Err(Invalid::new(format!("the section id `{id}` is there twice")));
        }
        sections.push(Section { id, label: body.label });
    }
    Ok(sections)
}

fn fields(
    bodies: Vec<FieldBody>,
    sections: &[Section],
    old: Option<&Content>,
) -> Result<Vec<Field>, Invalid> {
    let given: Vec<String> = bodies.iter().filter_map(|b| b.id.clone()).collect();
    let mut fields: Vec<Field> = Vec::with_capacity(bodies.len());
    for body in bodies {
        let mut field = field(body, sections)?;
        let taken: BTreeSet<&str> = fields.iter().map(|f| f.id.as_str()).collect();
        if given.contains(&field.id) {
            if taken.contains(field.id.as_str()) {
                return Err(Invalid::new(format!("the field id `{}` is there twice", field.id)));
            }
        } else {
            field.id = free_id(field.id, &taken, "", field.section.as_deref(), &field.label);
        }
        let before = old.and_then(|old| old.fields.iter().find(|f| f.id == field.id));
        field.totp = before.filter(|f| f.value == field.value).and_then(|f| f.totp.clone());
        fields.push(field);
    }
    Ok(fields)
}

fn field(body: FieldBody, sections: &[Section]) -> Result<Field, Invalid> {
    let purpose = body.purpose.unwrap_or_default();
    if !PURPOSES.contains(&purpose.as_str()) {
        return Err(Invalid::new("a purpose is USERNAME, PASSWORD, NOTES or empty"));
    }
    let section = body.section.and_then(|s| s.id);
    if let Some(id) = section.as_ref().filter(|id| sections.iter().all(|s| s.id != **id)) {
        return Err(Invalid::new(format!("a field is in section `{id}`, which the item has not")));
    }
    let label = body.label.unwrap_or_default();
    let kind = body.kind.filter(|k| !k.is_empty()).unwrap_or_else(|| Field::kind_of(&purpose));
    let mut value = body.value.unwrap_or_default();
    let password = purpose == "PASSWORD" || kind == "CONCEALED";
    if password && value.is_empty() && body.generate == Some(true) {
        value = generate::password(&body.recipe.unwrap_or_default())?;
    }
    let id = body.id.filter(|id| !id.is_empty());
    Ok(Field {
        id: id.unwrap_or_else(|| Field::derived_id("", &purpose, section.as_deref(), &label)),
        label,
        value,
        kind,
        purpose,
        section,
        totp: None,
        history: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: &Value) -> Result<Content, Invalid> {
        Content::from_body(body, &Place::New { vault: "v" })
    }

    fn refused(body: &Value, why: &str) {
        let error = read(body).map(|_| ()).expect_err("an error");
        assert!(error.message().contains(why), "{}", error.message());
        assert!(!error.message().contains("s3cret"), "{}", error.message());
    }

    #[test]
    fn a_body_becomes_a_content() {
        let content = read(&json!({
            "title": "db", "category": "DATABASE", "vault": {"id": "v"}, "favorite": true,
            "urls": [{"href": "https://a", "primary": true, "label": "web"}],
            "sections": [{"id": "s1", "label": "more"}],
            "fields": [
                {"id": "", "purpose": "USERNAME", "label": "username", "value": "u"},
                {"purpose": "PASSWORD", "label": "password", "generate": true},
                {"label": "port", "value": "5432", "section": {"id": "s1"}},
                {"label": "port", "value": "5433", "section": {"id": "s1"}},
                {"label": "note", "generate": true},
            ],
        }))
        .expect("a content");
        let ids: Vec<&str> = content.fields.iter().map(|f| f.id.as_str()).collect();
        assert_eq!(ids[..2], ["username", "password"]);
        assert_ne!(ids[2], ids[3]);
        assert_eq!(content.fields[1].value.chars().count(), 32);
        assert_eq!(content.fields[1].kind, "CONCEALED");
        assert_eq!(content.fields[4].value, "", "only a password is made");
    }

    #[test]
    fn a_body_that_is_no_item_is_refused_without_its_values() {
        refused(&json!("s3cret"), "not the body of an item");
        refused(&json!({"category": {"s3cret": 1}}), "not the body of an item");
        refused(&json!({"category": "LOGIN"}), "vault.id is missing");
        refused(&json!({"category": "LOGIN", "vault": {"id": "w"}}), "not that in the path");
        refused(&json!({"vault": {"id": "v"}}), "category is missing");
        let field =
            |field: Value| json!({"category": "LOGIN", "vault": {"id": "v"}, "fields": [field]});
        refused(&field(json!({"purpose": "s3cret"})), "a purpose is");
        refused(&field(json!({"section": {"id": "s"}, "value": "s3cret"})), "section `s`");
        let recipe = json!({"purpose": "PASSWORD", "generate": true, "recipe": {"length": 65}});
        refused(&field(recipe), "1 to 64");
        let twice = json!([{"id": "a", "value": "s3cret"}, {"id": "a"}]);
        let body = json!({"category": "LOGIN", "vault": {"id": "v"}, "fields": twice});
        refused(&body, "`a` is there twice");
    }
}
