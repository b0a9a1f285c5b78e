//! The parts of an item, and how a specification becomes them.

use std::collections::BTreeSet;

use crate::ids;
use crate::item::retired_value;
use crate::spec::{FieldSpec, FileSpec, ItemSpec};

/// Everything of an item that people write.
#[derive(Clone, PartialEq)]
pub(crate) struct Content {
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) favorite: bool,
    pub(crate) tags: Vec<String>,
    /// Absent in an ordinary item.
    pub(crate) state: Option<String>,
    pub(crate) urls: Vec<Url>,
    pub(crate) sections: Vec<Section>,
    pub(crate) fields: Vec<Field>,
    pub(crate) files: Vec<File>,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Url {
    pub(crate) href: String,
    pub(crate) label: String,
    pub(crate) primary: bool,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Section {
    pub(crate) id: String,
    pub(crate) label: Option<String>,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Field {
    pub(crate) id: String,
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) kind: String,
    /// Empty when it has none.
    pub(crate) purpose: String,
    pub(crate) section: Option<String>,
    pub(crate) totp: Option<String>,
    /// Former values, the last first.
    pub(crate) history: Vec<String>,
}

#[derive(Clone, PartialEq)]
pub(crate) struct File {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) section: Option<String>,
    pub(crate) content: Vec<u8>,
}

impl Content {
    pub(crate) fn of(item: &str, spec: &ItemSpec) -> Self {
        let mut sections: Vec<Section> = spec
            .sections
            .iter()
            .map(|s| Section { id: s.id.clone(), label: s.label.clone() })
            .collect();
        let mut fields: Vec<Field> = Vec::with_capacity(spec.fields.len());
        for field in &spec.fields {
            let mut field = Field::of(item, &spec.title, &mut sections, field);
            let taken = fields.iter().map(|f| f.id.as_str()).collect();
            field.id = free_id(field.id, &taken, item, field.section.as_deref(), &field.label);
            fields.push(field);
        }
        let mut files: Vec<File> = Vec::with_capacity(spec.files.len());
        for file in &spec.files {
            let mut file = File::of(item, &mut sections, file);
            let taken = files.iter().map(|f| f.id.as_str()).collect();
            file.id = free_id(file.id, &taken, item, file.section.as_deref(), &file.name);
            files.push(file);
        }
        let url = |(n, href): (usize, &String)| Url {
            href: href.clone(),
            label: String::new(),
            primary: n == 0,
        };
        Self {
            title: spec.title.clone(),
            category: spec.category.clone().unwrap_or_else(|| "LOGIN".to_owned()),
            favorite: false,
            tags: spec.tags.clone(),
            state: spec.state.clone(),
            urls: spec.urls.iter().enumerate().map(url).collect(),
            sections,
            fields,
            files,
        }
    }

    /// Takes over the former values of the fields that an older content had too, and adds those replaced now.
    pub(crate) fn remember(&mut self, old: &Self) {
        for field in &mut self.fields {
            if let Some(old) = old.fields.iter().find(|f| f.id == field.id) {
                field.history.clone_from(&old.history);
                if old.value != field.value {
                    field.history.insert(0, old.value.clone());
                }
            }
        }
    }
}

impl Field {
    pub(crate) fn of(
        item: &str,
        title: &str,
        sections: &mut Vec<Section>,
        spec: &FieldSpec,
    ) -> Self {
        let section = spec.section.as_ref().map(|name| section_id(item, sections, name));
        let purpose = match (&spec.purpose, &section, spec.label.as_str()) {
            (Some(purpose), ..) => purpose.clone(),
            (None, None, "username") => "USERNAME".to_owned(),
            (None, None, "password") => "PASSWORD".to_owned(),
            _ => String::new(),
        };
        Self {
            id: spec.id.clone().unwrap_or_else(|| {
                Self::derived_id(item, &purpose, section.as_deref(), &spec.label)
            }),
            label: spec.label.clone(),
            value: spec.value.clone(),
            kind: spec.kind.clone().unwrap_or_else(|| Self::kind_of(&purpose)),
            section,
            totp: spec.totp.clone(),
            history: spec.history.clone().unwrap_or_else(|| vec![retired_value(title)]),
            purpose,
        }
    }

    /// The id of a field that was given none.
    pub(crate) fn derived_id(
        item: &str,
        purpose: &str,
        section: Option<&str>,
        label: &str,
    ) -> String {
        match purpose {
            "USERNAME" => "username".to_owned(),
            "PASSWORD" => "password".to_owned(),
            "NOTES" => "notesPlain".to_owned(),
            _ => ids::id(&["field", item, section.unwrap_or(""), label]),
        }
    }

    /// The type of a field that was given none.
    pub(crate) fn kind_of(purpose: &str) -> String {
        if purpose == "PASSWORD" { "CONCEALED" } else { "STRING" }.to_owned()
    }
}

impl File {
    pub(crate) fn of(item: &str, sections: &mut Vec<Section>, spec: &FileSpec) -> Self {
        let section = spec.section.as_ref().map(|name| section_id(item, sections, name));
        Self {
            id: spec.id.clone().unwrap_or_else(|| ids::id(&["file", item, &spec.name])),
            name: spec.name.clone(),
            section,
            content: spec.content.clone(),
        }
    }
}

/// An id that no other part has: the one wanted, or one derived from it.
pub(crate) fn free_id(
    wanted: String,
    taken: &BTreeSet<&str>,
    item: &str,
    section: Option<&str>,
    name: &str,
) -> String {
    let mut id = wanted;
    let mut nth = 2;
    while taken.contains(id.as_str()) {
        id = ids::id(&["field", item, section.unwrap_or(""), name, &nth.to_string()]);
        nth += 1;
    }
    id
}

/// The id of a section named by id or label; a new one when there is none.
fn section_id(item: &str, sections: &mut Vec<Section>, name: &str) -> String {
    let by_id = sections.iter().find(|s| s.id == name);
    let known = by_id.or_else(|| sections.iter().find(|s| s.label.as_deref() == Some(name)));
    known.map(|s| s.id.clone()).unwrap_or_else(|| {
        let id = ids::section_id(&[item, name]);
        sections.push(Section { id: id.clone(), label: Some(name.to_owned()) });
        id
    })
}
